"""Questions to a person about what a kind changes, and what the answers mean."""

from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.erasure import Erasure, ask
from errata.data.releases.kind_inputs import NEITHER, stored_inputs
from errata.data.releases.questions import Question, answer_question, keep_question, open_questions
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, DataError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
NAMES = [pixel_digest(image) for image in IMAGES]


def asked(folder: Path) -> LocalStorage:
    storage = LocalStorage(folder / "store")
    for name, image in zip(NAMES, IMAGES, strict=True):
        keep_question(storage, Question(name, "3", "8", "snow"), image)
    return storage


def test_an_answer_is_a_label_of_the_class_that_is_right(tmp_path: Path) -> None:
    storage = asked(tmp_path)
    assert [each.image for each in open_questions(storage)] == sorted(NAMES)
    for name, verdict in zip(NAMES, ("old", "new", "neither"), strict=True):
        answer_question(storage, name[:10], verdict, (8, 8, 1), "anna")  # type: ignore[arg-type]
    labels = {each.id: (each.expected, each.reports) for each in stored_inputs(storage).labelled.corrections}
    assert labels == dict(zip(NAMES, [("3", ("anna",)), ("8", ("anna",)), (NEITHER, ("anna",))], strict=True))
    assert open_questions(storage) == ()
    keep_question(storage, Question(NAMES[0], "3", "9", "snow"), IMAGES[0])
    assert open_questions(storage) == ()  # what is known is not asked again


def test_the_last_question_about_an_image_stands_and_asking_again_is_harmless(tmp_path: Path) -> None:
    storage = asked(tmp_path)
    for _ in range(2):
        keep_question(storage, Question(NAMES[0], "3", "9", "ice"), IMAGES[0])
    assert [each.new for each in open_questions(storage) if each.image == NAMES[0]] == ["9"]


def test_nothing_is_asked_about_an_erased_photo(tmp_path: Path) -> None:
    storage = asked(tmp_path)
    ask(storage, Erasure(1, (), (NAMES[0],), (), (), "anna", "her face", "2001"))
    assert NAMES[0] not in {each.image for each in open_questions(storage)}
    storage.delete(layout.question(NAMES[0]))
    keep_question(storage, Question(NAMES[0], "3", "8", "snow"), IMAGES[0])
    assert layout.question(NAMES[0]) not in set(storage.keys(layout.QUESTIONS))


def test_an_answer_to_nothing_or_to_several_is_refused(tmp_path: Path) -> None:
    storage = asked(tmp_path)
    for name in ("", "zz"):
        with pytest.raises(DataError, match="errata kinds ask"):
            answer_question(storage, name, "old", (8, 8, 1), "anna")
    storage.put_once(layout.question("damaged"), b"{}")
    with pytest.raises(Damaged, match="asks again"):
        open_questions(storage)
