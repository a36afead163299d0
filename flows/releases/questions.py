"""The questions that wait for a person, as a page: each image with the old answer and the new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from errata.data.images import encode_png
from errata.data.releases.correction_images import correction_image
from errata.data.releases.manifest import read_manifest, read_model
from errata.data.releases.questions import Question, Verdict, answer_question, open_questions
from errata.data.storage.base import Storage
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.releases.contents.page_source import page_templates
from errata.flows.releases.contents.pictures import SHARP, longest_side, share, thumbnail
from errata.flows.releases.pointer import require_live


@dataclass(frozen=True)
class Card:
    """A question and the `data:` URL of its image."""

    question: Question
    picture: str


def live_shape(storage: Storage) -> tuple[int, int, int]:
    """Height, width and channels of the live model's images. Raises NightError if nothing is released, Damaged."""
    live, _ = require_live(storage)
    return OnnxClassifier(read_model(storage, read_manifest(storage, live.version, live.manifest_sha256))).image_shape


def questions_page(storage: Storage) -> bytes:
    """The open questions as one HTML file, which needs nothing else. Raises Damaged."""
    shape, questions = live_shape(storage), open_questions(storage)
    return render_questions(
        questions, {each.image: encode_png(correction_image(storage, each.image, shape)) for each in questions}
    )


def render_questions(questions: Sequence[Question], images: Mapping[str, bytes]) -> bytes:
    """The page, from PNG files by image."""
    cards = [Card(each, thumbnail(images[each.image], share(len(questions)))) for each in questions]
    sharp = max((longest_side(images[each.image]) for each in questions), default=0) <= SHARP
    return page_templates().get_template("questions.html.j2").render(cards=cards, sharp=sharp).encode()


def answer(storage: Storage, name: str, verdict: Verdict, by: str) -> Question:
    """Record a person's answer; returns the question. Raises DataError, NightError, Damaged, Superseded."""
    return answer_question(storage, name, verdict, live_shape(storage), by)[0]
