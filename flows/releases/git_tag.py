"""Releases in git as well, for teams that want them there: a commit of what made a release and a tag `errata@v2`.

Off by default; ERRATA_GIT_TAG=1 turns it on. The store stays what says which release is live; git is told after the
swap, and a git that cannot be told is a line in the log, not a failed night. Each night begins with the live release's
tag, so that one which a crash took is made up for.

The commit is made of the bundle's own files, not of the folder's, which may have moved on; those are left as they are.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from errata.data.releases.manifest import Manifest, read_file
from errata.data.storage.base import Storage
from errata.editing.errors import ForeignCode
from errata.flows.params import parse_params
from errata.flows.releases.pipeline import check_params, check_pipeline
from errata.flows.workspace import Log, Workspace

SETTING = "ERRATA_GIT_TAG"
FILES = ("dvc.lock", "dvc.yaml", "params.yaml")


def tag_name(version: int) -> str:
    """The tag of a release, as gto names versions."""
    return f"errata@v{version}"


def tag_release(workspace: Workspace, storage: Storage, manifest: Manifest, log: Log) -> bool:
    """Commit what made a release and tag it, if that is asked for; says whether it is tagged. Again is harmless."""
    if os.environ.get(SETTING, "").lower() not in {"1", "true", "yes"}:
        return False
    git = _Git(workspace.folder)
    try:
        if not git.known(f"refs/tags/{tag_name(manifest.version)}"):
            files = {name: read_file(storage, manifest, name) for name in FILES}
            whose = f"release {manifest.version}"
            check_pipeline(files["dvc.yaml"], whose)
            params = parse_params(files["params.yaml"], f"params.yaml of {whose}")
            check_params(params, workspace.params.model.plugins if params.model.plugins else (), whose)
            message = f"Release {manifest.version}\n\nmanifest {manifest.digest}"
            commit = _commit(git, files, message)
            git("tag", "-a", tag_name(manifest.version), "-m", message, commit)
    except _GitError as fault:
        log(f"git {fault}; release {manifest.version} is live all the same")
        return False
    except ForeignCode as fault:  # what the store says is never committed unlooked at: the next checkout would run it
        log(f"{fault}; it is not tagged")
        return False
    return True


def _commit(git: _Git, files: Mapping[str, bytes], message: str) -> str:
    """The branch's newest commit, if these files are in it as they are, else a new one that has them so."""
    folder = git("rev-parse", "--show-prefix")
    entries = [
        f"100644,{git('hash-object', '-w', '--stdin', content=each)},{folder}{name}" for name, each in files.items()
    ]
    add = ["update-index", "--add", *(word for entry in entries for word in ("--cacheinfo", entry))]
    with tempfile.TemporaryDirectory() as temporary:
        aside = {"GIT_INDEX_FILE": str(Path(temporary) / "index")}  # what somebody has staged is not in the commit
        head = git("rev-parse", "HEAD") if git.known("HEAD") else None
        git("read-tree", head or "--empty", env=aside)
        git(*add, env=aside)
        tree = git("write-tree", env=aside)
    if head and git("rev-parse", "HEAD^{tree}") == tree:
        return head
    commit = git("commit-tree", tree, *(("-p", head) if head else ()), "-m", message)
    git("update-ref", "-m", message.partition("\n")[0], "HEAD", commit, head or "0" * 40)
    git(*add)  # so that the folder differs from the branch by its own changes only
    return commit


class _GitError(Exception):
    """What git could not do, and why."""


class _Git:
    """Git in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *words: str, content: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
        """What git says to a command; raises _GitError."""
        environment = {**os.environ, **(env or {})}
        command = ["git", *words]
        try:
            done = subprocess.run(
                command, cwd=self._folder, input=content, env=environment, capture_output=True, check=False
            )
        except OSError as fault:  # no git here
            raise _GitError(f"{words[0]} failed: {fault}") from fault
        if done.returncode:
            raise _GitError(f"{words[0]} failed: {done.stderr.decode(errors='replace').strip()[:200]}")
        return done.stdout.decode(errors="replace").strip()

    def known(self, name: str) -> bool:
        """Whether git knows a name."""
        try:
            return bool(self("rev-parse", "--quiet", "--verify", name))
        except _GitError:
            return False
