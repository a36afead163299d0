"""Releases in git as well, for teams that want them there: a commit of dvc.lock and a tag `errata@v2`. Off by default.

ERRATA_GIT_TAG=1 turns it on. The store stays what says which release is live; git is told after the swap, and a git
that cannot be told is a line in the log, not a failed night.
"""

from __future__ import annotations

import os
import subprocess

from flows.workspace import Log, Workspace

SETTING = "ERRATA_GIT_TAG"
FILES = ("dvc.lock", "dvc.yaml", "params.yaml")


def tag_name(version: int) -> str:
    """The tag of a release, as gto names versions."""
    return f"errata@v{version}"


def tag_release(workspace: Workspace, version: int, digest: str, log: Log) -> bool:
    """Commit what made a release and tag it, if that is asked for; says whether it was done. Again is harmless."""
    if os.environ.get(SETTING, "").lower() not in {"1", "true", "yes"}:
        return False
    message = f"Release {version}\n\nmanifest {digest}"
    commands = (
        ("add", "--force", "--", *FILES),
        ("commit", "--quiet", "--allow-empty", "--only", "-m", message, "--", *FILES),
        ("tag", "-a", tag_name(version), "-m", message),
    )
    known = _git(workspace, "rev-parse", "--quiet", "--verify", f"refs/tags/{tag_name(version)}")
    if known.returncode == 0:
        return True
    for command in commands:
        done = _git(workspace, *command)
        if done.returncode:
            log(f"git {command[0]} failed, release {version} is live all the same: {done.stderr.strip()[:200]}")
            return False
    return True


def _git(workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["git", *words]
    try:
        return subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True, check=False)
    except OSError as fault:  # no git here
        return subprocess.CompletedProcess(command, 127, "", str(fault))
