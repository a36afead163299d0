"""A stage that the server runs is the stage: what it says, how it ends. Where there is none it runs all the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from errata.flows.stages.handover import SERVER, hand_over, warm_stages
from tests.flows.conftest import REPOSITORY

pytestmark = pytest.mark.slow  # torch is imported


def stage(folder: Path, name: str) -> tuple[int, str, str]:
    """The command that DVC runs: exit code, output, errors."""
    done = subprocess.run(
        [sys.executable, "-m", "errata.flows.stages", name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_stage_says_the_same_and_ends_the_same(tmp_path: Path) -> None:
    good, wrong = tmp_path / "good", tmp_path / "wrong"
    for folder, content in ((good, "seed: 1\n"), (wrong, "seed: one\n")):
        folder.mkdir()
        (folder / "params.yaml").write_text(content)
    alone = [stage(wrong, "evaluate"), stage(good, "export"), stage(good, "prepare")]
    splits = sorted((good / "artifacts" / "splits").iterdir())
    made = [path.read_bytes() for path in splits]
    for path in splits:
        path.unlink()
    with warm_stages():
        assert SERVER in os.environ
        assert [stage(wrong, "evaluate"), stage(good, "export"), stage(good, "prepare")] == alone
        assert [path.read_bytes() for path in splits] == made
    assert [code for code, _, _ in alone] == [1, 1, 0]
    assert "params.yaml: seed" in alone[0][2]
    assert SERVER not in os.environ


def children() -> set[int]:
    """The processes that this one started and has not waited for."""
    return {int(child) for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


def test_where_the_server_has_gone_the_command_runs_the_stage_itself(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: one\n")
    before = children()  # what other tests left in this process
    with warm_stages():
        (server,) = children() - before
        os.kill(server, signal.SIGKILL)
        assert hand_over("edit") is None
        assert stage(tmp_path, "edit")[0] == 1
    assert hand_over("edit") is None


def test_a_stage_is_deterministic_and_brings_no_compiler(tmp_path: Path) -> None:
    """torch's own `use_deterministic_algorithms` imports one, for more than a second in each stage."""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    program = (
        "import sys, torch; from errata.flows.stages.__main__ import run_here; run_here('prepare');"
        "print(torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),"
        "'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False", "False"]
