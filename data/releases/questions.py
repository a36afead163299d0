"""Questions to a person: images of the day's requests on which a kind changes the answer. Old, new, or neither?

    questions/<identity>.json    in the store: both answers; the image itself is kept as a correction's

An answer is a label (`data.releases.kind_inputs`) of the old class, of the new one or of neither, and judges the kind
from the next night on. A question is open until its image is labelled.
"""

from __future__ import annotations

from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.images import Pixels
from errata.data.records import STRICT, canonical_json, parse_record
from errata.data.releases.correction_images import correction_image, keep_image
from errata.data.releases.erasure import erased_digests
from errata.data.releases.kind_inputs import NEITHER, label_image
from errata.data.releases.ledger import Correction
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NotStored

Verdict = Literal["old", "new", "neither"]


@dataclass(frozen=True, config=STRICT)
class Question:
    """Of the image with pixel digest `image` the root says `old`, and `kind` would have it be `new`."""

    image: str
    old: str
    new: str
    kind: str
    format: Literal["errata-question/1"] = "errata-question/1"


_QUESTION = TypeAdapter(Question)


def keep_question(storage: Storage, question: Question, pixels: Pixels) -> None:
    """Put a question and its image `[h, w, c]` into the store; the last one about an image stands.

    One about a photo that was erased is not asked.
    """
    if question.image in erased_digests(storage):
        return
    keep_image(storage, question.image, pixels)
    key, content = layout.question(question.image), canonical_json(question)
    try:
        found = storage.read(key)
    except NotStored:
        storage.swap(key, content, expected=None)
        return
    if found.content != content:
        storage.swap(key, content, expected=found.tag)


def open_questions(storage: Storage) -> tuple[Question, ...]:
    """Those that nobody has answered, by image. Raises Damaged."""
    answered = {layout.stem(key) for key in storage.keys(layout.LABELLED)} | erased_digests(storage)
    return tuple(
        parse_record(_QUESTION, storage.read(key).content, f"{storage.url}/{key}", "remove it, and a night asks again")
        for key in storage.keys(layout.QUESTIONS)
        if layout.stem(key) not in answered
    )


def answer_question(
    storage: Storage, name: str, verdict: Verdict, shape: tuple[int, int, int], by: str
) -> tuple[Question, Correction]:
    """Record what a person says of the open question whose image begins with `name`; `shape` is the model's images'.

    Raises DataError if none or several begin so, Damaged, Superseded.
    """
    found = [each for each in open_questions(storage) if name and each.image.startswith(name)]
    if len(found) != 1:
        raise DataError(f"{len(found)} open questions begin with {name!r}; `errata kinds ask` lists them")
    question = found[0]
    expected = {"old": question.old, "new": question.new, "neither": NEITHER}[verdict]
    pixels = correction_image(storage, question.image, shape)
    return question, label_image(storage, question.image, pixels, expected, by)
