"""How far long work is, where there is no terminal: lines for the log, and one file that `errata status` reads.

DVC's output goes to the night's log line by line, and from there to Prefect; so a stage prints.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as record

from errata.data.records import STRICT, Count, Real, canonical_json, parse_record
from errata.editing.errors import Damaged
from errata.flows.workspace import Workspace

SECONDS = 15.0  # between two lines about one thing


@record(frozen=True, config=STRICT)
class Progress:
    """`done` of `total` of `what`, by the `process` of that number, `seconds` after the `first` of it were done.

    A `total` of 0 is one that nobody knows; a `note` is a loss, say.
    """

    what: str
    first: Count
    done: Count
    total: Count
    seconds: Real
    note: str
    process: int

    @property
    def left(self) -> float | None:
        """Seconds still, if it goes on as before; None if that cannot be told."""
        since = self.done - self.first
        return self.seconds / since * (self.total - self.done) if since > 0 and self.total else None

    @property
    def sentence(self) -> str:
        """For a log."""
        note = f", {self.note}" if self.note else ""
        so_far = f", {_duration(self.seconds)} so far" if self.done > self.first else ""
        left = "" if self.left is None or self.done == self.total else f", {_duration(self.left)} left"
        whole = f" of {self.total:,}" if self.total else ""
        return f"{self.what} {self.done:,}{whole}{note}{so_far}{left}"


_PROGRESS = TypeAdapter(Progress)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass
class _Known:
    """When the `first` of a thing were done and when it was last `told` of (seconds), and how much of it is `done`."""

    began: float
    told: float
    first: int
    done: int = 0


@dataclass
class Teller:
    """Tells of the work of one `stage`, the file at `path` with every line. The first line about a thing comes after
    `SECONDS`, so that short work says nothing; what has a note is told at once."""

    path: Path
    stage: str
    say: Callable[[str], None] = field(default=partial(print, flush=True))
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, _Known] = field(default_factory=dict)

    def tell(self, what: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` of `what`, 0 if nobody knows of how many; no more than before is a new beginning."""
        moment, known = self.clock(), self._known.get(what)
        if known is None or done <= known.done:
            known = self._known[what] = _Known(moment, moment, done)
        known.done = done
        if note or moment - known.told >= SECONDS:
            known.told = moment
            found = Progress(f"{self.stage}: {what}", known.first, done, total, moment - known.began, note, os.getpid())
            self.say(found.sentence)
            self._write(found)

    def _write(self, found: Progress) -> None:
        whole = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole.write_bytes(canonical_json(found))
            whole.replace(self.path)
        except OSError:  # no room for news is no reason to end the work
            with suppress(OSError):
                whole.unlink(missing_ok=True)


def open_teller(workspace: Workspace, stage: str) -> Teller:
    """Who tells of a stage that works in the workspace."""
    return Teller(progress_file(workspace), stage)


def progress_file(workspace: Workspace) -> Path:
    """Where a running stage says how far it is; this machine's, and no part of a release."""
    return workspace.folder / "artifacts" / "progress.json"


def read_progress(workspace: Workspace) -> Progress | None:
    """What is at work in the workspace now; None if nothing is, or nothing long."""
    try:
        found = parse_record(_PROGRESS, progress_file(workspace).read_bytes(), "progress.json", "delete it")
        os.kill(found.process, 0)
    except (OSError, Damaged):  # none, or its process is gone
        return None
    return found
