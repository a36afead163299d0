"""Where the night starts: the live release, verified, and a workspace that holds its root."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from errata.data import layout
from errata.data.releases.correction_images import copy_corrections
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.erasure import erased_digests
from errata.data.releases.kind_inputs import released_inputs
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Live, Manifest, read_file, read_model
from errata.data.releases.replay import replay_of
from errata.data.splits import RECORD, SplitEntry, parse_splits
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, Expired
from errata.editing.model import ModelSpec
from errata.flows.night.state import Night, Parent
from errata.flows.night.step import STORE_AWAY, step
from errata.flows.params import parse_params
from errata.flows.releases.gate_images import fetch_gates
from errata.flows.releases.git_tag import tag_release
from errata.flows.releases.outputs import restore_outputs
from errata.flows.releases.pointer import record, require_live, verified
from errata.flows.workspace import Workspace, tree_digest


@step("sync", waits=STORE_AWAY)
def sync(night: Night) -> Parent:
    """Read and verify the live release; bring the workspace's root in line with it."""
    storage, workspace = night.storage, night.workspace
    storage.probe()
    live, tag = require_live(storage)
    try:
        live.check_fresh(datetime.now(UTC), f"{storage.url}/{layout.LIVE}")
    except Expired as fault:  # nights are what renews it, so this one goes on
        night.log(str(fault))
    manifest = verified(storage, live.version, live.manifest_sha256)
    record(storage, live)  # a crash between swap and log left no entry
    tag_release(workspace, storage, manifest, night.log)  # nor a tag
    fetch_gates(storage, workspace)
    restore_root(night, manifest)
    finish_splits(night)
    return read_parent(night, live, tag, manifest)


def finish_splits(night: Night) -> None:
    """Make the splits again where a run was killed while it made them: DVC removes the old ones first."""
    if not (night.workspace.splits / RECORD).exists():
        night.log("there are no splits, for a run was killed while it made them say; making them again")
        night.workspace.dvc("repro", "prepare", log=night.log)


def read_parent(night: Night, live: Live, tag: str, manifest: Manifest) -> Parent:
    """What a night starts from, where the workspace holds the live release's root; nothing is written."""
    storage, workspace = night.storage, night.workspace
    spec = ModelSpec.from_json(workspace.read(workspace.root / "model.json").decode())
    return Parent(
        live=live,
        tag=tag,
        manifest=manifest,
        ledger=Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode()),
        model=read_model(storage, manifest),
        classes=spec.classes,
        image_shape=spec.image_shape,
        learned=learned_splits(storage, manifest),
        kind_inputs=released_inputs(storage, manifest),
        deferred=EditRecord.from_json(read_file(storage, manifest, "edit.json")).deferred,
    )


def learned_splits(storage: Storage, manifest: Manifest) -> Mapping[str, SplitEntry] | None:
    """The splits that a release was made from; None if its bundle does not say."""
    if RECORD not in manifest.files:
        return None
    return parse_splits(read_file(storage, manifest, RECORD), f"{RECORD} of release {manifest.version}").learned


def restore_root(night: Night, manifest: Manifest) -> None:
    """Make sure that the workspace holds the live release's root: from DVC's remote if it does not."""
    workspace = night.workspace
    workspace.use_remote(night.storage.url)
    replay = replay_of(night.storage, manifest)
    erased = erased_digests(night.storage) & {each.id for each in replay.corrections}
    copy_corrections(night.storage, workspace.replay, replay, erased)
    _restore_root(night, manifest)
    if erased:
        keep_taught_root(night, manifest)


def keep_taught_root(night: Night, manifest: Manifest) -> None:
    """Tell DVC that the root stays though a photo that it learned from was erased, unless its parameters changed."""
    then = parse_params(read_file(night.storage, manifest, "params.yaml"), f"params.yaml of release {manifest.version}")
    now = night.workspace.params
    if (then.seed, then.model, then.train) == (now.seed, now.model, now.train):
        night.log(f"the root of release {manifest.version} learned from an erased photo: `errata train` makes another")
        night.workspace.dvc("commit", "--force", "--quiet", "train", log=night.log)


def _restore_root(night: Night, manifest: Manifest) -> None:
    workspace = night.workspace
    same_root = root_digest(workspace) == manifest.root
    if same_root and workspace.lock_is_whole:
        return
    (workspace.folder / "dvc.lock").write_bytes(read_file(night.storage, manifest, "dvc.lock"))
    if same_root:
        night.log("dvc.lock was missing or damaged; it is the live release's again")
        return
    night.log("the workspace holds another root; fetching the live release's from the store")
    restore_outputs(night.storage, manifest, workspace, night.log)
    if root_digest(workspace) != manifest.root:
        raise Damaged(f"DVC put another root here than that of release {manifest.version}; remove .dvc/cache")


def root_digest(workspace: Workspace) -> str | None:
    """The digest of the workspace's root, or None if there is none."""
    try:
        return tree_digest(workspace.root)
    except DataError:
        return None
