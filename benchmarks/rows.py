"""Finished work, kept on disk: every trial of a row is written as it ends, so that a run can be stopped anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from errata.editing.engine import chosen_engine
from errata.editing.model import EditableModel
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control, Demand, Trial, run_protocol
from errata.editing.types import Editor

SIDE_BY_SIDE = 32  # edits made in one computation: 2.6 times as fast as one at a time even on a CPU (speed_protocol)


def run_row(
    path: Path,
    editor: Editor[Any],
    prepare: Callable[[EditableModel], Any],
    control: Callable[[], Control],
    demands: Sequence[Demand],
    views: ViewSettings,
) -> list[Trial]:
    """The trials of one row, those in `path` (JSON Lines) read, the others run and appended.

    The first line names the editor and the views: a row of other settings is begun anew, not mixed.
    """
    header = {"editor": repr(editor), "views": repr(views)}
    trials = read_row(path, header)
    if len(trials) < len(demands):
        measured_on = control()
        state = prepare(measured_on.root)
        for trial in run_protocol(
            editor, state, measured_on, demands[len(trials) :], views, SIDE_BY_SIDE, chosen_engine()
        ):
            trials.append(trial)
            add_line(path, header, trial)
    return trials[: len(demands)]


def read_row(path: Path, header: dict[str, Any] | None = None) -> list[Trial]:
    """The trials kept in `path`, as `read_lines` has them."""
    return [Trial(**{**one, "harm": tuple(one["harm"])}) for one in read_lines(path, header)]


def read_lines(path: Path, header: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What `add_line` kept in `path`, nothing if `header` is given and differs; drops a half-written line."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    if header is not None and json.loads(lines[0]) != json.loads(json.dumps(header)):
        path.rename(path.with_suffix(".old"))
        return []
    whole = [line for line in lines if line.endswith("\n")]
    if len(whole) < len(lines):
        path.write_text("".join(whole))
    return [json.loads(line) for line in whole[1:]]


def add_line(path: Path, header: dict[str, Any], outcome: Any) -> None:
    """Keep one more record in `path` (JSON Lines), whose first line says what made them all."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(header) + "\n")
    with path.open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def kept_value(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A JSON object computed once and kept in `path`."""
    if not path.exists():
        value = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1) + "\n")
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept
