"""The queue as tasks for Label Studio, and what people answered there as reports.

A task (Label Studio's JSON format) has the image in it, as a data URI of a PNG file, what is claimed and by whom, and
as a prediction what the live model says. An annotation that chose a class becomes its annotator's report.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.data.belief.trust import TrustSettings
from errata.data.records import Sha256, wrong_fields
from errata.editing.errors import DataError
from errata.flows.cli.review.annotations import Annotation, Task, open_tasks
from errata.flows.cli.review.live import Desk

FROM, TO = "class", "image"  # the names of the control and of what it labels, in the labelling interface
_TOLERANT = ConfigDict(frozen=True)  # their format has many fields more


class _Value(BaseModel):
    model_config = _TOLERANT

    choices: list[str] = []


class _Result(BaseModel):
    model_config = _TOLERANT

    from_name: str = ""
    value: _Value = _Value()


class _Person(BaseModel):
    model_config = _TOLERANT

    email: str


class _Annotation(BaseModel):
    model_config = _TOLERANT

    completed_by: _Person | int | None = None
    was_cancelled: bool = False
    result: list[_Result] = []


class _Data(BaseModel):
    model_config = _TOLERANT

    errata_image: Sha256


class _Task(BaseModel):
    model_config = _TOLERANT

    data: _Data
    annotations: list[_Annotation] = []


class _Export(BaseModel):
    model_config = _TOLERANT

    tasks: list[_Task] = Field(max_length=100_000)


def interface(classes: tuple[str, ...]) -> str:
    """The labelling interface for a project: the image, what is claimed, and one choice of the classes."""
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    return (
        f'<View>\n  <Image name="{TO}" value="$image"/>\n  <Text name="claim" value="$claim"/>\n'
        f'  <Choices name="{FROM}" toName="{TO}" choice="single" required="true">\n{choices}\n  </Choices>\n</View>\n'
    )


def tasks(desk: Desk, trust: TrustSettings) -> Iterator[dict[str, object]]:
    """A task for each claim that nobody decided yet and whose image can be looked at, those that waited first."""
    yield from (_task(desk, each) for each in open_tasks(desk, trust))


def _task(desk: Desk, task: Task) -> dict[str, object]:
    side, predicted = task.side, task.looked.predicted
    picture = base64.b64encode(task.picture).decode()
    choice = {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [predicted]}}
    doubt = "" if side.doubt is None else f", doubt {side.doubt:.0%}"
    return {
        "data": {
            "image": f"data:image/png;base64,{picture}",
            "claim": f"{', '.join(side.reporters)}: {side.expected}; the model: {predicted}{doubt}",
            "expected": side.expected,
            "errata_image": side.image,
        },
        "predictions": [
            {
                "model_version": f"release {desk.model().version}",
                "score": task.looked.probabilities[predicted],
                "result": [choice],
            }
        ],
    }


def read_annotations(content: bytes, names: dict[int, str]) -> list[Annotation]:
    """Image, class and annotator of every annotation that chose one class, of Label Studio's JSON export.

    `names`: of annotators whom the file knows by number alone. Raises DataError naming what is wrong.
    """
    try:
        export = _Export.model_validate({"tasks": json.loads(content)})
    except ValidationError as error:
        raise DataError(f"not a JSON export of Label Studio: {wrong_fields(error, 'the file')}") from error
    except ValueError as error:
        raise DataError(f"not JSON: {error}") from error
    found = []
    for task in export.tasks:
        for annotation in task.annotations:
            chosen = [each.value.choices for each in annotation.result if each.from_name == FROM]
            if not annotation.was_cancelled and len(chosen) == 1 and len(chosen[0]) == 1:
                by = _who(annotation.completed_by, names)
                found.append(Annotation(task.data.errata_image, chosen[0][0], by))
    return found


def _who(by: _Person | int | None, names: dict[int, str]) -> str:
    if isinstance(by, _Person):
        return by.email
    if by is None or by not in names:
        raise DataError(f"annotator {by} has no name in the file; say `--annotator {by}=NAME`")
    return names[by]
