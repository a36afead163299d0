"""Two runs in one workspace: one works, the other waits and says for whom, and a dead one holds nobody up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from errata.data.storage.local import LocalStorage
from errata.editing.errors import NightError
from errata.flows.night.one_at_a_time import WAIT, alone
from errata.flows.night.state import Night
from errata.flows.workspace import Workspace

HOLD = """
import os, sys, time
from pathlib import Path
from errata.data.storage.local import LocalStorage
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.state import Night
from errata.flows.workspace import Workspace
folder = Path(sys.argv[1])
with alone(Night(LocalStorage(folder / "store"), Workspace(folder), "Ada", print), "a night"):
    if sys.argv[2:] == ["and its DVC"]:
        import subprocess
        child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
        print(child.pid, flush=True)
    else:
        print("held", flush=True)
    time.sleep(600)
"""


def night(folder: Path, heard: list[str]) -> Night:
    return Night(LocalStorage(folder / "store"), Workspace(folder), "Grace", heard.append)


def holder(folder: Path, *words: str) -> tuple["subprocess.Popen[str]", str]:
    """Another process that holds the workspace, and its first line."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_second_run_waits_and_says_for_whom_and_works_once_the_first_was_killed(tmp_path: Path) -> None:
    process, _ = holder(tmp_path)
    heard: list[str] = []

    def kill(_seconds: float) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    with alone(night(tmp_path, heard), "a night", pause=kill):
        (said,) = heard
        assert f"in use by a night of Ada (process {process.pid}, since " in said


def test_a_run_that_waited_long_enough_ends_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WAIT, "3")
    process, _ = holder(tmp_path)
    waited: list[float] = []
    try:
        with (
            pytest.raises(NightError, match=r"a night of Ada .* run again"),
            alone(night(tmp_path, []), "a night", pause=waited.append),
        ):
            pass
        assert sum(waited) == 3
    finally:
        process.kill()
        process.wait()


def test_the_dvc_of_a_run_that_was_killed_still_holds_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WAIT, "0")
    process, child = holder(tmp_path, "and its DVC")
    process.kill()
    process.wait()
    try:
        with pytest.raises(NightError, match="a night of Ada"), alone(night(tmp_path, []), "a night"):
            pass
    finally:
        os.kill(int(child), signal.SIGKILL)
    while True:  # until the kernel has let go of it
        try:
            with alone(night(tmp_path, []), "a night"):
                return
        except NightError:
            continue
