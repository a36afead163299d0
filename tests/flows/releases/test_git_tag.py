"""The tag in git: off by default, on the commit of what made the release, and never in the way of a night."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.releases.manifest import Manifest
from errata.data.storage.local import LocalStorage
from errata.flows.releases.contents.bundle import publish
from errata.flows.releases.git_tag import FILES, SETTING, tag_release
from errata.flows.workspace import Workspace
from tests.flows.conftest import REPOSITORY, Place, Undisturbed
from tests.flows.night.faults import Watched, converges, die, killed
from tests.flows.releases.test_bundle import a_bundle


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def committer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "errata")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "errata@example.org")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "workspace"
    folder.mkdir()
    for name in (*FILES, "notes.txt"):
        (folder / name).write_text(f"{name} that somebody is changing")
    return Workspace(folder)


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


def content(name: str, version: int) -> str:
    """A file that says of which release it is."""
    if name == "dvc.yaml":
        return f"{(REPOSITORY / name).read_text()}# of {version}\n"
    return f"seed: {version}\n" if name == "params.yaml" else f"{name} of {version}"


def released(storage: LocalStorage, version: int) -> Manifest:
    """A release in the store, of files that say which one it is."""
    bundle = a_bundle(version, **{name: content(name, version).encode() for name in FILES})
    publish(storage, bundle)
    return bundle.manifest


def test_off_by_default(workspace: Workspace, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING)
    git(workspace.folder, "init", "-q")
    assert not tag_release(workspace, storage, released(storage, 2), print)
    assert git(workspace.folder, "tag") == ""


@pytest.mark.parametrize("inside", ["", "models/digits"])
def test_the_tag_names_the_commit_of_what_made_the_release(
    workspace: Workspace, storage: LocalStorage, inside: str
) -> None:
    """Of the bundle's files and nothing else, in the repository's root or below; changes that wait stay as they are."""
    repository = workspace.folder
    workspace = Workspace(repository / inside)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    (workspace.folder / "params.yaml").write_text("params.yaml that somebody is changing")
    git(repository, "init", "-q")
    git(repository, "add", "notes.txt")
    digests = {}
    for version in (2, 3):
        manifest = released(storage, version)
        digests[version] = manifest.digest
        for _ in range(2):
            assert tag_release(workspace, storage, manifest, print)
    prefix = f"{inside}/" if inside else ""
    for version, manifest_digest in digests.items():
        tag = f"errata@v{version}"
        assert git(repository, "ls-tree", "-r", "--name-only", tag).split() == [f"{prefix}{name}" for name in FILES]
        for name in FILES:
            assert git(repository, "show", f"{tag}:{prefix}{name}") == content(name, version)
        assert manifest_digest in git(repository, "tag", "-n9", tag)
    assert git(repository, "rev-list", "--count", "HEAD").strip() == "2"
    status = git(repository, "status", "--porcelain").splitlines()
    assert "A  notes.txt" in status
    assert f" M {prefix}params.yaml" in status
    assert (workspace.folder / "params.yaml").read_text() == "params.yaml that somebody is changing"


def test_no_git_is_a_line_in_the_log(
    workspace: Workspace, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workspace.folder.parent))
    heard: list[str] = []
    manifest = released(storage, 2)
    assert not tag_release(workspace, storage, manifest, heard.append)
    monkeypatch.setenv("PATH", str(workspace.folder))
    assert not tag_release(workspace, storage, manifest, heard.append)
    assert len(heard) == 2
    assert all("release 2 is live all the same" in each for each in heard)


GIT_THAT_KILLS = """#!/bin/sh
case "$*" in "tag -a errata@v2"*) kill -9 $PPID; exit 1;; esac
exec {git} "$@"
"""


@pytest.mark.parametrize("moment", ["before the log", "before the commit", "before the tag"])
@pytest.mark.parametrize("new_store", ["local"], indirect=True)
def test_a_crash_between_swap_and_tag_is_made_up_for_by_the_next_night(
    disturbed: Place, undisturbed: Undisturbed, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die_at_log(operation: str, key: str) -> None:
        if (operation, key) == ("put", layout.log_entry(2)):
            die()

    folder = disturbed.workspace.folder
    git(folder, "init", "-q")
    if moment == "before the log":
        killed(disturbed, storage=Watched(disturbed.storage, before=die_at_log))
    elif moment == "before the commit":
        killed(disturbed, storage=Watched(disturbed.storage, after=die_at_log))
    else:
        (tmp_path / "git").write_text(GIT_THAT_KILLS.format(git=shutil.which("git")))
        (tmp_path / "git").chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
            killed(disturbed)
    assert git(folder, "tag").split() == ["errata@v1"]  # made up for as well: release 1 was made without the setting
    released_with = (folder / "params.yaml").read_text()
    (folder / "params.yaml").write_text(f"{released_with}# for the next release\n")
    converges(disturbed, undisturbed)
    assert git(folder, "tag").split() == ["errata@v1", "errata@v2"]
    assert git(folder, "rev-list", "--count", "HEAD").strip() == "2"
    assert git(folder, "show", "errata@v2:params.yaml") == released_with
    assert undisturbed.digest in git(folder, "tag", "-n9", "errata@v2")


def test_a_pipeline_of_the_stores_is_not_committed(workspace: Workspace, storage: LocalStorage) -> None:
    """Whoever may write the store could else have the next checkout run it."""
    git(workspace.folder, "init", "-q")
    forged = content("dvc.yaml", 2).replace("python -m flows.stages edit", "sh -c 'touch owned'")
    files = {**{name: content(name, 2).encode() for name in FILES}, "dvc.yaml": forged.encode()}
    bundle = a_bundle(2, **files)
    publish(storage, bundle)
    heard: list[str] = []
    assert not tag_release(workspace, storage, bundle.manifest, heard.append)
    assert "stages.edit.cmd" in heard[0]
    assert git(workspace.folder, "tag") == ""
    assert not git(workspace.folder, "for-each-ref")
