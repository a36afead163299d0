"""What strangers write is text on a terminal: no markup, no command, no other direction of writing."""

from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from errata.data import layout
from errata.data.reports import make_report
from errata.data.storage.local import LocalStorage
from errata.flows.cli.app import app
from errata.flows.cli.base import Terminal
from errata.flows.releases.retraction import retract
from tests.flows.releases.small import make_bundle, release

COMMANDS = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200b\x00\x7f\r"
EVIL = f"[/]{COMMANDS}[bold]Eve[link=http://evil]"


@pytest.mark.parametrize("shown", ["{}", "a table", "a Text"])
def test_no_command_gets_to_the_terminal_and_no_markup_is_read(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("head", title=EVIL, show_header=False)
    table.add_row(EVIL)
    Terminal().print({"{}": EVIL, "a table": table, "a Text": Text(EVIL)}[shown], ":smile:")
    said = capsys.readouterr().out
    assert "[/]]0;owned[2J31m[bold]Eve[link=http://evil]" in said
    assert ":smile:" in said
    assert not set(COMMANDS) - set("]0;owned[2J31m") & set(said)


def test_whoever_names_himself_so_stops_no_command(tmp_path: Path) -> None:
    """`release` is of a report called as `small` calls it, so that the lineage names its reporter."""
    storage, name = LocalStorage(tmp_path), "report of a"
    report = make_report(b"image", "cat", reporter="[/]Eve\x9b31m[link=http://evil]", note=EVIL)
    storage.put_once(layout.settled_report(1, name), report.to_json())
    release(storage, make_bundle(1, "a"))
    retract(storage, "a", by="[/]Ann", why=EVIL)
    for words, told in (("releases", "[/]Ann"), ("show 1", "[/]Eve31m"), ("reports", "[/]Eve31m")):
        done = CliRunner().invoke(app, [*words.split(), "--store", storage.url], env={"COLUMNS": "300"})
        assert (done.exit_code, told in done.output) == (0, True), (words, done.output, done.exception)
    shown = CliRunner().invoke(app, ["report", "show", name, "--store", storage.url], env={"COLUMNS": "300"}).output
    assert "[bold]Eve" in shown
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
