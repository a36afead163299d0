"""The files of a new project: made from the installed package, and never put in the place of one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from errata.editing.errors import DataError
from errata.flows.params import Params
from errata.flows.prefect_runs.services import DEPLOYMENTS
from errata.flows.releases.pipeline import own_pipeline

REQUIRED = ("seed", "data", "model", "train", "views", "edit", "gate")  # dvc.yaml names them: DVC wants them there
HEAD = """\
# Everything that shapes a release, where it differs from its default: `python -m errata.flows.params.page` lists every
# parameter with its default and meaning. A change runs exactly those stages again that read it (`dvc repro`).
"""
DVC_CONFIG = """\
[core]
    analytics = false
    check_update = false
    autostage = false
    remote = store
['remote "store"']
    url = ../store/dvc
"""
IGNORED_BY_DVC = """\
# Bundles hold the dvc.yaml that made them: they are records, not pipelines of this workspace.
/store
/.venv
"""
IGNORED_BY_GIT = (
    "/store/",
    "/artifacts/",
    "/gates/",
    "/metrics/",
    "/data_docs/",
    "/dvc_plots/",
    "/errata.html",
    "__pycache__/",
)
WITHOUT_GIT = "[core]\n    no_scm = true\n"


def project_files(params: Params, *, git: bool) -> dict[str, bytes]:
    """Every file of a new project by its path; without `git` DVC is told not to look for it."""
    return {
        "prefect.yaml": DEPLOYMENTS.read_bytes(),
        ".dvc/config": DVC_CONFIG.encode(),
        ".dvc/.gitignore": b"/config.local\n/tmp\n/cache\n",
        ".dvcignore": IGNORED_BY_DVC.encode(),
        ".gitignore": "".join(f"{line}\n" for line in IGNORED_BY_GIT).encode(),
        **({} if git else {".dvc/config.local": WITHOUT_GIT.encode()}),
        "dvc.yaml": own_pipeline(),
        "params.yaml": params_file(params),  # last: a folder that has it is a project
    }


def params_file(params: Params) -> bytes:
    """params.yaml with what differs from the defaults; `parse_params` of it gives `params` again."""
    content = {"seed": params.seed, **{name: {} for name in REQUIRED[1:]}, **_different(params, Params())}
    ordered = {name: content[name] for name in (*REQUIRED, *content)}
    return (
        HEAD + yaml.safe_dump(ordered, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    ).encode()


def _different(params: Any, default: Any) -> dict[str, Any]:
    """What a section holds beyond its default, as plain data."""
    plain, usual = params.model_dump(mode="json"), default.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, value in params:
        if hasattr(value, "model_dump"):
            if inner := _different(value, getattr(default, name)):
                found[name] = inner
        elif plain[name] != usual[name]:
            found[name] = plain[name]
    return found


def refuse_a_project(folder: Path) -> None:
    """Raises DataError if `folder` is a project already, of whoever, or has a module that hides ours."""
    if (folder / "errata.py").exists() or (folder / "errata" / "__init__.py").exists():
        raise DataError(f"{folder} has a Python module `errata`, which hides Errata's own: call it something else")
    mine = folder / "dvc.yaml"  # ours by itself is what an `init` left that was killed
    left_over = mine.is_file() and mine.read_bytes() == own_pipeline()
    if there := [name for name in ("dvc.yaml", "params.yaml")[left_over:] if (folder / name).exists()]:
        raise DataError(
            f"{folder} has {' and '.join(there)} already, which nothing is written over; use another folder"
        )


def write_project(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write what is not there, each file whole or not at all; the names of those that were there, are as they were and
    say something else."""
    kept = []
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink():
            if not path.is_file() or path.read_bytes() != content:
                kept.append(name)
            continue
        whole = path.with_name(f"{path.name}.new")
        whole.write_bytes(content)
        whole.replace(path)
    return kept


def in_git(folder: Path) -> bool:
    """Whether a folder lies in a git repository."""
    return any((each / ".git").exists() for each in (folder, *folder.parents))
