"""Pages of the documentation as programs: their fenced blocks, in order, written and run in a scratch clone."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(\w+)(?:[ \t]+file=(\S+))?[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: `sh` is run; any block with `file=NAME` is written to that file."""

    language: str
    file: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Every block of the page that is to be written or run."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(page.read_text())]
    return [block for block in found if block.language == "sh" or block.file]


def scratch_clone(folder: Path) -> Path:
    """The repository's files as they are now, in a folder of their own; no store, no artifacts."""
    shutil.copytree(
        REPOSITORY,
        folder,
        symlinks=True,
        ignore=shutil.ignore_patterns(
            *(".git", ".venv", "store", "artifacts", "metrics", "site", "__pycache__", ".*_cache", "dvc.lock")
        ),
    )
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    return folder


def follow(page: Path, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Do what the page says in `folder`, in one shell; what was printed. Raises on the first command that fails.

    In the given environment, by default in that of the tests with `errata` as it is in `folder`.
    """
    script = ["set -e", f"cd {folder}"]
    for number, block in enumerate(blocks(page)):
        if block.file:
            target = folder / block.file
            source = folder / f".page-{number}"
            source.write_text(block.text)
            script.append(f"cp {source} {target}")
        else:
            script.append(block.text)
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=environment or repository_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{page.name}: exit code {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def repository_environment(folder: Path) -> dict[str, str]:
    """The variables of somebody who activated the environment of a clone in `folder`."""
    tools = folder / ".tools"
    tools.mkdir()
    activate = folder / ".venv" / "bin" / "activate"  # what runs the tests is active already
    activate.parent.mkdir(parents=True)
    activate.touch()
    (tools / "errata").write_text(f'#!/bin/sh\nexec {sys.executable} -m errata.flows.cli.app "$@"\n')
    (tools / "errata").chmod(0o755)
    path = f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(folder), "COLUMNS": "120"}
