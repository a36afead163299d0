"""What tonight would come to, without doing it: what would be collected, refused, wait and be corrected.

The night's own steps look at the inbox, in a mirror of the workspace; of what they would write nothing stays but the
cache of features, which is this machine's. What the gate would say nobody knows before the edit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from errata.data.belief.waiting import Waiting
from errata.data.inbox.refusals import Refusal
from errata.data.releases.ledger import Correction
from errata.editing.errors import NightError
from errata.flows.night.collect import collect
from errata.flows.night.parent import read_parent, root_digest
from errata.flows.night.state import Night
from errata.flows.releases.pointer import require_live, verified
from errata.flows.workspace import Workspace

WRITTEN = "data_docs"  # the one folder of a workspace that collecting writes to, beside the cache of features


@dataclass(frozen=True)
class DryRun:
    """What a night would do now. `held`: corrections in force; `changes`: whether it would make a release at all."""

    live: int
    reports: int
    corrections: tuple[Correction, ...]
    withdrawn: tuple[str, ...]
    refused: tuple[Refusal, ...]
    waiting: tuple[Waiting, ...]
    held: int
    changes: bool

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for any table."""
        what = "edit the root for the whole ledger, and ask the gate" if self.changes else "nothing to correct"
        return [
            ("reports in", str(self.reports)),
            ("would be quarantined", str(len(self.refused))),
            ("would wait", f"{len(self.waiting)} claims"),
            ("would be new corrections", str(len(self.corrections))),
            ("would leave the ledger", str(len(self.withdrawn))),
            ("corrections in force", f"{self.held} now"),
            ("the night would", what),
            ("live version", f"{self.live}"),
        ]


def dry_run(night: Night) -> DryRun:
    """Look at the inbox as the night would. Raises NightError if the workspace has not the live release's root."""
    with TemporaryDirectory(prefix="errata-dry-run-") as folder:
        night = replace(night, workspace=mirror(night.workspace, Path(folder)))
        live, tag = require_live(night.storage)
        manifest = verified(night.storage, live.version, live.manifest_sha256)
        if root_digest(night.workspace) != manifest.root:
            raise NightError(f"the root of release {live.version} is not here; `errata correct` fetches it")
        parent = read_parent(night, live, tag, manifest)
        batch = collect(night, parent)
    return DryRun(
        live=live.version,
        reports=batch.reports,
        corrections=batch.corrections,
        withdrawn=batch.withdrawn,
        refused=batch.refused,
        waiting=batch.sides_waiting,
        held=len(parent.ledger.corrections),
        changes=batch.changes(parent),
    )


def mirror(workspace: Workspace, folder: Path) -> Workspace:
    """The workspace as links in `folder`, but for what collecting would write."""
    for path in workspace.folder.iterdir():
        if path.name != WRITTEN:
            (folder / path.name).symlink_to(path)
    return Workspace(folder)
