"""Parts of many images: all of them, in order, whole batches at a time; and samples in whole batches."""

import numpy as np
import pytest

from errata.editing.batches import at_once, parts, spread

PHOTO, SMALL = (224, 224, 3), (8, 8, 1)


@pytest.mark.parametrize("shape", [PHOTO, SMALL])
@pytest.mark.parametrize("count", [1, 255, 5_000, 12_345])
def test_parts_are_all_images_in_whole_batches(shape: tuple[int, ...], count: int) -> None:
    found = list(parts(count, shape, 4096))
    assert np.concatenate([np.arange(count)[each] for each in found]).tolist() == list(range(count))
    for each in found:
        assert each.start % at_once(shape) == 0  # features are kept batch by batch
        assert each.stop - each.start <= 4096


def test_a_sample_is_whole_batches_from_first_to_last_third_and_all_images_where_they_are_few() -> None:
    assert [(each.start, each.stop) for each in spread(600, SMALL, 600)] == [(0, 256), (256, 512), (512, 600)]
    some = spread(100_000, SMALL, 1_000)
    assert [each.start for each in some] == [0, 130 * 256, 260 * 256]
    assert all(each.stop - each.start == 256 for each in some)
