"""One run at a time in a workspace: a night and a training write the same files, and DVC's lock is not waited for.

    .dvc/tmp/errata.lock    {"what", "by", "process", "since"} of who holds it

The lock is the kernel's (flock) and goes with the process, however that ends. DVC inherits it, so that a run which was
killed alone, and whose DVC goes on, still holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from errata.editing.errors import NightError
from errata.flows.night.state import Night

WAIT = "ERRATA_WAIT"  # seconds to wait for another run in the same workspace; 600 by default
PAUSE = 1.0  # seconds between two tries


@contextmanager
def alone(night: Night, what: str, pause: Callable[[float], object] = time.sleep) -> Iterator[None]:
    """Hold the workspace for a run, `what` in words; waits while another run has it, and says who.

    Raises NightError if it still has it after ERRATA_WAIT seconds.
    """
    path = night.workspace.folder / ".dvc" / "tmp" / "errata.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        _take(night, lock, path, pause)
        mine = {"what": what, "by": night.by, "process": os.getpid(), "since": datetime.now(UTC).isoformat()[:19]}
        lock.truncate(0)
        lock.write(json.dumps(mine) + "\n")
        lock.flush()
        os.set_inheritable(lock.fileno(), True)
        yield


def _take(night: Night, lock: IO[str], path: Path, pause: Callable[[float], object]) -> None:
    left = float(os.environ.get(WAIT, "600"))
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            who = _holder(path)
            if left <= 0:
                raise NightError(
                    f"{night.workspace.folder} is in use by {who}; run again when that has ended"
                ) from None
            if not said:
                night.log(f"{night.workspace.folder} is in use by {who}; waiting up to {left:g} seconds for it to end")
            said = True
            pause(PAUSE)
            left -= PAUSE


def _holder(path: Path) -> str:
    """Who holds the lock, as far as the file says."""
    try:
        held = json.loads(path.read_text())
        return f"{held['what']} of {held['by']} (process {held['process']}, since {held['since']} UTC)"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
