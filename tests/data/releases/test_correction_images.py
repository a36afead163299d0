"""A correction's image is encoded once: what the store holds is what the stages read, to the byte."""

import io

import numpy as np
import pytest
from PIL import Image

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.correction_images import correction_file, correction_image, keep_image
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged
from tests.conftest import NewStore

SHAPE = (8, 8, 3)
PIXELS = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
NAME = pixel_digest(PIXELS)


def png(pixels: np.ndarray, level: int) -> bytes:
    """A PNG file, compressed as another version of the encoder might."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=level)
    return out.getvalue()


@pytest.fixture
def storage(new_store: NewStore) -> Storage:
    return new_store()


def test_the_stored_file_is_given_as_it_is(storage: Storage) -> None:
    kept = keep_image(storage, NAME, PIXELS)
    assert storage.get(layout.correction_image(NAME)) == kept
    assert correction_file(storage, NAME, SHAPE) == kept
    np.testing.assert_array_equal(correction_image(storage, NAME, SHAPE), PIXELS)
    assert keep_image(storage, NAME, PIXELS) == kept


def test_a_file_that_another_encoder_made_is_not_made_again(storage: Storage) -> None:
    other = png(PIXELS, level=0)
    storage.put_once(layout.correction_image(NAME), other)
    assert correction_file(storage, NAME, SHAPE) == other
    assert keep_image(storage, NAME, PIXELS) != other  # the two encoders do differ


def test_a_file_of_another_image_is_refused(storage: Storage) -> None:
    with pytest.raises(Damaged, match="is gone from the store"):
        correction_file(storage, NAME, SHAPE)
    storage.put_once(layout.correction_image(NAME), png(255 - PIXELS, level=6))
    with pytest.raises(Damaged, match="was changed in the store"):
        correction_file(storage, NAME, SHAPE)
