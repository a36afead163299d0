"""`errata reports` and `errata report show`, as a person types them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.quarantine import quarantine
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.manifest import sha256
from errata.data.reports import Report, file_report, make_report
from errata.data.storage import open_storage
from errata.data.storage.base import Storage
from errata.flows.cli.app import app
from errata.flows.releases.retraction import retract
from errata.flows.releases.rollback import rollback
from tests.flows.releases.small import make_bundle, release

IMAGE = encode_png(np.zeros((8, 8, 1), np.uint8))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def typed(storage: Storage, *words: str) -> Any:
    """The JSON document that a command prints."""
    done = CliRunner().invoke(app, [*words, "--json", "--store", storage.url], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(storage: Storage, reporter: str) -> Report:
    filed = file_report(storage, IMAGE, "7", reporter=reporter)
    quarantine(storage, Refusal(filed.id, Reason.CONFLICT, "[red]others say 8"), datetime.now(UTC))
    return filed


def test_reports_are_listed_by_state_and_by_who_said_so(storage: Storage) -> None:
    said = CliRunner().invoke(app, ["reports", "--store", storage.url]).output
    assert "no reports yet" in said
    first, second = refused(storage, "José"), file_report(storage, IMAGE, "8", reporter="Ada")

    def listed(*words: str) -> list[str]:
        return [each["id"] for each in typed(storage, "reports", *words)]

    assert sorted(listed()) == sorted([first.id, second.id])
    assert listed("--waiting") == [second.id]
    assert listed("--refused") == [first.id]
    assert listed("--mine", "JOSE") == [first.id]
    assert listed("--waiting", "--mine", "jose") == []
    table = CliRunner().invoke(app, ["reports", "--store", storage.url]).output
    assert "[red]others" in table  # markup of whoever wrote it is text


def test_one_report_is_told_from_filing_to_refusal(storage: Storage) -> None:
    filed = refused(storage, "Ada")
    told = typed(storage, "report", "show", filed.id[:10])
    assert told["state"] == "refused"
    assert [(each["what"].partition(":")[0], each["by"]) for each in told["events"]] == [
        ("filed", "Ada"),
        ("refused", ""),
    ]
    shown = CliRunner().invoke(app, ["report", "show", filed.id[:10], "--store", storage.url], env={"COLUMNS": "150"})
    assert "[red]others say 8" in shown.output
    assert "filed: should be 7" in shown.output


def test_a_file_called_show_can_be_reported(storage: Storage, tmp_path: Path) -> None:
    photo = tmp_path / "show"
    photo.write_bytes(IMAGE)
    assert typed(storage, "report", str(photo), "--expected", "7")["expected"] == "7"
    assert typed(storage, "report", "--expected", "8", str(photo))["expected"] == "8"


def test_several_images_of_one_class_are_filed_at_once(storage: Storage, tmp_path: Path) -> None:
    photos = [tmp_path / f"{level}.png" for level in (1, 2)]
    for level, photo in enumerate(photos, 1):
        photo.write_bytes(encode_png(np.full((8, 8, 1), level, np.uint8)))
    filed = typed(storage, "report", *map(str, photos), "--expected", "7")
    assert [each["image"] for each in filed] == [sha256(photo.read_bytes()) for photo in photos]
    gone = [str(photos[0]), str(tmp_path / "gone.png"), "--expected", "8", "--store", storage.url]
    done = CliRunner().invoke(app, ["report", *gone])
    assert "gone.png" in str(done.exception)
    assert "1.png should be 8" in done.output  # what came before is filed, and said to be


def test_what_people_decided_about_a_released_claim_is_in_its_history(storage: Storage) -> None:
    report = make_report(IMAGE, "cat", reporter="Ada", filed_at=datetime(2020, 1, 1, tzinfo=UTC))
    name = "report of a"  # as tests/flows/releases/small.py calls it
    storage.put_once(layout.settled_report(2, name), report.to_json())
    release(storage, make_bundle(1))
    release(storage, make_bundle(2, "ab"))

    def told() -> tuple[str, list[str]]:
        found = typed(storage, "report", "show", name)
        return found["state"], [each["what"] for each in found["events"]]

    storage.put_once(layout.inbox_report(name), report.to_json())
    filed, taken = "filed: should be cat", "taken into release 2"
    assert told() == ("in release", [filed, taken])
    storage.delete(layout.inbox_report(name))
    retract(storage, "a", by="Grace", why="blurred")
    assert told() == ("in release", [filed, taken, "withdrawn: blurred"])
    shown = CliRunner().invoke(app, ["report", "show", name, "--store", storage.url]).output
    assert "the next night releases a model without" in " ".join(shown.split())
    rollback(storage, 1, by="Linus", why="complaints")
    assert told() == ("not held", [filed, taken, "withdrawn: blurred"])  # what a person decided stands
