"""The queue goes to Label Studio and comes back as its annotators' reports, as its own library reads them."""

import base64
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import decode_image
from errata.data.reports import parse_report
from tests.flows.cli.review.conftest import CLAIMED, CLASSES, OTHER, Desk, Typed, TypeErrata, predicted
from tests.serving.releases import IMAGES


@pytest.fixture
def typed(type_errata: TypeErrata) -> Typed:
    """Types `errata label-studio`."""
    return type_errata("label-studio")


def annotated(task: dict[str, Any], choice: str, by: Any, **more: Any) -> dict[str, Any]:
    """The task as Label Studio exports it once somebody chose a class."""
    result = {"id": "x1", "from_name": "class", "to_name": "image", "type": "choices", "origin": "manual"}
    annotation = {"id": 3, "completed_by": by, "result": [{**result, "value": {"choices": [choice]}}], "lead_time": 2.5}
    return {"id": 7, "annotations": [{**annotation, **more}], "drafts": [], "project": 1, **task}


def test_the_queue_goes_there_and_comes_back_as_reports(desk: Desk, typed: Any, tmp_path: Path) -> None:
    report = desk.claim(9, CLAIMED, "bob", "José", doubt=0.125)
    assert typed("export", "tasks.json", "--interface", "interface.xml").exit_code == 0
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    assert f"José, bob: {CLAIMED}; the model: {predicted(9)}, doubt 12%" == task["data"]["claim"]
    picture = base64.b64decode(task["data"]["image"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(decode_image(picture)[:, :, :1], IMAGES[9])
    assert task["predictions"][0]["result"][0]["value"] == {"choices": [predicted(9)]}
    root = ElementTree.fromstring((tmp_path / "interface.xml").read_text())
    assert [each.get("value") for each in root.iter("Choice")] == list(CLASSES)

    answers = [
        annotated(task, OTHER, {"id": 1, "email": "ann@example.org"}),
        annotated(task, CLAIMED, 2),
        annotated(task, OTHER, 3, was_cancelled=True),
        {**annotated(task, OTHER, 3), "annotations": []},
    ]
    (tmp_path / "export.json").write_text(json.dumps(answers))
    nameless = typed("import", "export.json")
    assert "--annotator 2=NAME" in str(nameless.exception)
    assert typed("import", "export.json", "--annotator", "2=Grace").exit_code == 0
    assert typed("import", "export.json", "--annotator", "2=Grace").exit_code == 0  # twice is once
    found = [parse_report(desk.storage.get(key)) for key in desk.storage.keys(layout.INBOX)]
    assert sorted((each.reporter, each.expected, each.image) for each in found) == sorted(
        [
            ("bob", CLAIMED, report.image),
            ("José", CLAIMED, report.image),
            ("ann@example.org", OTHER, report.image),
            ("Grace", CLAIMED, report.image),
        ]
    )


def test_what_was_decided_is_no_task(desk: Desk, typed: Any, tmp_path: Path) -> None:
    desk.claim(9, CLAIMED, "ann lee")
    assert typed("export", "tasks.json").exit_code == 0
    assert json.loads((tmp_path / "tasks.json").read_text()) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "not JSON"),
        ('{"tasks": []}', "not a JSON export"),
        ('[{"data": {"errata_image": "../live.json"}}]', "errata_image"),
        ('[{"data": {}, "annotations": []}]', "errata_image"),
    ],
)
def test_what_is_no_export_is_refused(desk: Desk, typed: Any, tmp_path: Path, wrong: str, said: str) -> None:
    (tmp_path / "export.json").write_text(wrong)
    assert said in str(typed("import", "export.json").exception)


def test_one_wrong_answer_files_none(desk: Desk, typed: Any, tmp_path: Path) -> None:
    report = desk.claim(9, CLAIMED)
    task = {"data": {"errata_image": report.image}}
    by = {"email": "ann@example.org"}
    for wrong in (annotated(task, "a cat", by), annotated({"data": {"errata_image": "a" * 64}}, OTHER, by)):
        (tmp_path / "export.json").write_text(json.dumps([annotated(task, OTHER, by), wrong]))
        assert typed("import", "export.json").exit_code == 1
    assert list(desk.storage.keys(layout.INBOX)) == [layout.inbox_report(report.id)]


def test_label_studios_own_library_takes_it(desk: Desk, typed: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("label_studio_sdk.label_interface", reason="pip install label-studio-sdk")
    desk.claim(9, CLAIMED, "bob", doubt=0.125)
    typed("export", "tasks.json", "--interface", "interface.xml")
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    interface = library.LabelInterface((tmp_path / "interface.xml").read_text())
    interface.validate()
    assert interface.validate_task({"data": task["data"]})
    assert interface.validate_prediction(task["predictions"][0])
    (answer,) = annotated(task, OTHER, 1)["annotations"]
    assert interface.validate_annotation(answer)
    assert not interface.validate_annotation(annotated(task, "a cat", 1)["annotations"][0])
