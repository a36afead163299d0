from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.kind_inputs import (
    KindDecision,
    KindInputs,
    decide_kind,
    label_image,
    load_inputs,
    recorded_kind_decisions,
    stored_inputs,
    write_inputs,
)
from errata.data.releases.ledger import Ledger, read_ledger
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, ErrataError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)


def filled(folder: Path) -> LocalStorage:
    storage = LocalStorage(folder / "store")
    for image, expected in zip(IMAGES, "abc", strict=True):
        label_image(storage, pixel_digest(image), image, expected, "anna")
    decide_kind(storage, KindDecision("named", ("one", "two"), "snow"), by="anna", why="it snows", at="1999")
    decide_kind(storage, KindDecision("dissolved", ("three",)), by="ben", why="it melts", at="2001")
    return storage


def test_what_people_said_comes_back_from_store_folder_and_bundle(tmp_path: Path) -> None:
    storage, folder = filled(tmp_path), tmp_path / "ledger"
    inputs = stored_inputs(storage)
    assert sorted(each.expected for each in inputs.labelled.corrections) == ["a", "b", "c"]
    assert [each.action for each in inputs.decisions] == ["named", "dissolved"]
    folder.mkdir()
    write_inputs(storage, folder, inputs)
    assert load_inputs(folder) == inputs == KindInputs.from_files(inputs.to_files())
    ledger, images = read_ledger(folder / "labelled", (8, 8, 1))
    assert ledger == inputs.labelled and {pixel_digest(each) for each in images} == {
        pixel_digest(each) for each in IMAGES
    }
    assert [(each.by, each.why) for each in recorded_kind_decisions(storage)] == [
        ("anna", "it snows"),
        ("ben", "it melts"),
    ]


def test_who_and_when_are_no_part_of_a_release(tmp_path: Path) -> None:
    content = b"".join(stored_inputs(filled(tmp_path)).to_files().values())
    assert not any(word in content for word in (b"ben", b"1999", b"2001", b"melts"))


def test_nothing_said_leaves_no_file_and_takes_old_ones_away(tmp_path: Path) -> None:
    storage, folder = filled(tmp_path), tmp_path / "ledger"
    folder.mkdir()
    write_inputs(storage, folder, stored_inputs(storage))
    write_inputs(storage, folder, KindInputs())
    assert list(folder.iterdir()) == [] and load_inputs(folder) == KindInputs() and KindInputs().to_files() == {}


def test_the_last_label_of_an_image_counts(tmp_path: Path) -> None:
    storage = filled(tmp_path)
    label_image(storage, pixel_digest(IMAGES[0]), IMAGES[0], "z", "ben")
    assert {each.expected for each in stored_inputs(storage).labelled.corrections} == {"z", "b", "c"}


@pytest.mark.parametrize("content", [b"{}", b'{"id": "other", "expected": "a", "reports": []}', b"no JSON"])
def test_a_damaged_label_is_refused(tmp_path: Path, content: bytes) -> None:
    storage = filled(tmp_path)
    key = layout.labelled_image(pixel_digest(IMAGES[0]))
    storage.delete(key)
    storage.put_once(key, content)
    with pytest.raises(Damaged, match="label the image again"):
        stored_inputs(storage)


def test_a_damaged_decision_is_refused(tmp_path: Path) -> None:
    storage = filled(tmp_path)
    storage.put_once(layout.kind_decision(3), b"{}")
    with pytest.raises(Damaged, match="what people decided"):
        stored_inputs(storage)
    with pytest.raises(ErrataError):
        KindInputs.from_files({"kinds.json": b"[1]"})


def test_labelled_images_are_of_no_release() -> None:
    assert KindInputs().labelled == Ledger(0)
