"""The tag in git: off by default, on the commit of what made the release, and never in the way of a night."""

import subprocess
from pathlib import Path

import pytest

from flows.tagging import SETTING, tag_release
from flows.workspace import Workspace


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("dvc.lock", "dvc.yaml", "params.yaml", "notes.txt"):
        (tmp_path / name).write_text(name)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "errata")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "errata@example.org")
    return Workspace(tmp_path)


def test_off_by_default(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    git(workspace.folder, "init", "-q")
    assert not tag_release(workspace, 2, "d" * 64, print)
    assert git(workspace.folder, "tag") == ""


def test_the_tag_names_the_commit_of_what_made_the_release(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "1")
    git(workspace.folder, "init", "-q")
    for _ in range(2):
        assert tag_release(workspace, 2, "d" * 64, print)
    assert git(workspace.folder, "ls-tree", "--name-only", "errata@v2").split() == [
        "dvc.lock", "dvc.yaml", "params.yaml",
    ]  # fmt: skip
    assert "d" * 64 in git(workspace.folder, "tag", "-n9", "errata@v2")
    assert git(workspace.folder, "rev-list", "--count", "HEAD").strip() == "1"


def test_no_git_is_a_line_in_the_log(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.folder.parent))
    heard: list[str] = []
    assert not tag_release(workspace, 2, "d" * 64, heard.append)
    monkeypatch.setenv("PATH", str(workspace.folder))
    assert not tag_release(workspace, 2, "d" * 64, heard.append)
    assert len(heard) == 2
    assert all("release 2 is live all the same" in each for each in heard)
