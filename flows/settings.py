"""Where things are, by environment: what shapes a release is in params.yaml, what differs between machines is here."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from data.storage import open_storage
from data.storage.base import Storage
from flows.night import Night
from flows.workspace import Log, Workspace

STORE = "ERRATA_STORE"  # a folder or s3://bucket/prefix; by default `store` in the workspace
WORKSPACE = "ERRATA_WORKSPACE"  # the folder with dvc.yaml and params.yaml; by default the current one


def workspace(folder: str | Path | None = None) -> Workspace:
    """The workspace at `folder`, else where ERRATA_WORKSPACE says, else here."""
    return Workspace(Path(folder or os.environ.get(WORKSPACE) or Path.cwd()).resolve())


def store_url(url: str | None = None) -> str:
    """The store's URL: `url`, else what ERRATA_STORE says, else `store` in the workspace; folders are made absolute."""
    text = url or os.environ.get(STORE) or str(workspace().folder / "store")
    return text if "://" in text else str(Path(text).resolve())


def storage(url: str | None = None) -> Storage:
    """The store, opened."""
    return open_storage(store_url(url))


def operator() -> str:
    """Who is acting, for the log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "errata"


def open_night(store: str | None, folder: str | None, by: str | None, log: Log) -> Night:
    """A night in the given places, or in those of the environment."""
    return Night(storage(store), workspace(folder), by or operator(), log)
