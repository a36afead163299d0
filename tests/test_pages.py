"""What the documentation says is done, exactly as it says, as a newcomer would: from a clone, by the page alone."""

import json
import re
from pathlib import Path

import pytest

from data import layout
from data.manifest import read_live
from data.reports import report_schema
from data.storage.local import LocalStorage
from flows.cli import app
from tests.pages import REPOSITORY, follow, scratch_clone


@pytest.mark.slow
def test_your_model(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "errata")
    said = follow(REPOSITORY / "docs" / "your-model.md", clone)
    live = read_live(LocalStorage(clone / "store"))
    assert live is not None
    assert live[0].version == 2, said[-3000:]
    assert (clone / "corrected.html").stat().st_size > 10_000


@pytest.mark.slow
def test_getting_started(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "errata")
    said = follow(REPOSITORY / "docs" / "getting-started.md", clone, {"USER": "tester"})
    storage = LocalStorage(clone / "store")
    log = [json.loads(storage.get(key)) for key in storage.keys(layout.LOG)]
    assert [(each["version"], each["action"]) for each in log] == [
        (1, "released"),
        (2, "released"),
        (1, "rolled back"),
    ], said[-3000:]


def test_the_schema_is_the_type() -> None:
    assert json.loads((REPOSITORY / "docs" / "report.schema.json").read_text()) == report_schema()


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_command_shown_exists() -> None:
    """Each `errata COMMAND` in any page is a command of errata's."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for name in re.findall(r"(?:^|`)errata ([a-z]+)", page.read_text(), re.MULTILINE):
            assert name in known, f"{page.name}: errata {name}"
