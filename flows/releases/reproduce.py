"""Making a release again from its bundle, in a clean folder, through DVC: the proof that a release is a function.

    release_n = Edit(root, ledger_n, params)

On the machine, code and libraries that made it, every file comes out byte for byte. Elsewhere last bits may differ, and
with them digests: then the gate's rows must agree within a tolerance.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from errata.data.releases.correction_images import copy_corrections
from errata.data.releases.erasure import erased_digests
from errata.data.releases.kind_inputs import released_inputs, write_inputs
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Manifest, read_file
from errata.data.releases.replay import replay_of
from errata.data.storage.base import Storage
from errata.editing.errors import ErrataError, NightError, NotStored, Removed
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.releases.contents.bundle import build_bundle
from errata.flows.releases.gate_images import fetch_gates, judged_on_erased
from errata.flows.releases.outputs import restore_outputs
from errata.flows.releases.pipeline import check_params, check_pipeline
from errata.flows.releases.pointer import released_digest, verified
from errata.flows.releases.standing import edited_by, held_by
from errata.flows.workspace import Log, Workspace

TOLERANCE = 0.01  # of a criterion's value: one point of a rate
PLAIN_DVC = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"

Outcome = Literal["equal", "within tolerance", "different"]


@dataclass(frozen=True)
class Reproduction:
    """What came out: how each file compares, what else the two were made by, how far the gate's rows lie apart.

    `elsewhere` names what differs between then and now, code and libraries; `not_rebuilt` are files of the bundle that
    tell of the night and are no function of the three inputs.
    """

    version: int
    changed: tuple[str, ...]
    not_rebuilt: tuple[str, ...]
    elsewhere: tuple[str, ...]
    distance: float
    tolerance: float

    @property
    def outcome(self) -> Outcome:
        """equal if every digest is, else by the distance of the gate's rows; NaN is never within."""
        if not self.changed:
            return "equal"
        return "within tolerance" if self.distance <= self.tolerance else "different"


def reproduce(
    storage: Storage,
    version: int,
    folder: Path,
    *,
    from_scratch: bool = False,
    tolerance: float = TOLERANCE,
    allowed_plugins: Collection[str] = (),
    log: Log,
) -> Reproduction:
    """Make release `version` again in `folder`, which must be empty, and compare it with its bundle.

    The data set's splits and the root come from the store, checked, or are made again with `from_scratch`. Only the
    installed pipeline is run, and of plugins those in `allowed_plugins`. Raises NightError if they cannot be had,
    Damaged if bundle, splits or root do not verify, Removed if it was pruned or needs a photo that was erased,
    ForeignCode if the bundle asks for other code.
    """
    manifest = verified(storage, version, released_digest(storage, version))
    gone = erased_digests(storage)
    labelled = {each.id for each in released_inputs(storage, manifest).labelled.corrections}
    erased = gone & {each.id for each in held_by(storage, manifest)}
    if gone & labelled or (erased and (from_scratch or erased & {each.id for each in edited_by(storage, manifest)})):
        raise Removed(f"release {version} cannot be made again: a photo that it was made with was erased")
    if judged_on_erased(storage, manifest):
        raise Removed(f"release {version} cannot be made again: a photo that it was judged with was erased")
    workspace = restore_workspace(storage, manifest, folder, allowed_plugins, erased)
    if from_scratch:
        fetch_gates(storage, workspace)
    else:
        try:
            restore_outputs(storage, manifest, workspace, log)
        except (NightError, NotStored) as fault:
            raise NightError(f"{fault}; --from-scratch makes splits and root again") from fault
        if erased:  # the root stays, though what it learned from is not all there
            workspace.dvc("commit", "--force", "--quiet", "train", log=log)
    beside = f"{Path.cwd()}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"  # where the auditor's plugins lie
    env = {"PYTHONPATH": beside} if allowed_plugins else {}
    workspace.dvc("repro", *(["--force"] if from_scratch else []), "evaluate", log=log, env=env)
    return compare(storage, manifest, workspace, tolerance)


def restore_workspace(
    storage: Storage,
    manifest: Manifest,
    folder: Path,
    allowed_plugins: Collection[str] = (),
    erased: Collection[str] = (),
) -> Workspace:
    """A workspace with what the bundle says, the corrections' images but for `erased`, and the installed dvc.yaml."""
    if folder.exists() and any(folder.iterdir()):
        raise NightError(f"{folder} is not empty; a release is made again in a folder of its own")
    pipeline = check_pipeline(read_file(storage, manifest, "dvc.yaml"), f"release {manifest.version}")
    workspace = Workspace(folder)
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text(PLAIN_DVC)
    (folder / "dvc.yaml").write_bytes(pipeline)
    for name in ("dvc.lock", "params.yaml"):
        (folder / name).write_bytes(read_file(storage, manifest, name))
    check_params(workspace.params, allowed_plugins, f"release {manifest.version}")
    ledger = Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode())
    copy_corrections(storage, workspace.ledger, ledger)
    write_inputs(storage, workspace.ledger, released_inputs(storage, manifest))
    copy_corrections(storage, workspace.replay, replay_of(storage, manifest), erased)
    return workspace


def compare(storage: Storage, manifest: Manifest, workspace: Workspace, tolerance: float) -> Reproduction:
    """Hold the workspace against a release."""
    rebuilt = build_bundle(workspace)
    names = set(manifest.files) & set(rebuilt.files)
    changed = sorted(name for name in names if manifest.files[name] != rebuilt.manifest.files[name])
    changed += [
        name
        for name in ("root", "ledger", "splits", "params")
        if getattr(manifest, name) != getattr(rebuilt.manifest, name)
    ]
    then, now = manifest.libraries, rebuilt.manifest.libraries
    elsewhere = ["code"] if manifest.code != rebuilt.manifest.code else []
    elsewhere += sorted(f"{name} {then.get(name)} -> {now.get(name)}" for name in now if now[name] != then.get(name))
    try:
        distance = gate_distance(read_file(storage, manifest, "gate.json"), rebuilt.files["gate.json"])
    except ErrataError:
        distance = math.nan
    return Reproduction(
        version=manifest.version,
        changed=tuple(changed),
        not_rebuilt=tuple(sorted(set(manifest.files) - names)),
        elsewhere=tuple(elsewhere),
        distance=distance,
        tolerance=tolerance,
    )


def gate_distance(then: bytes, now: bytes) -> float:
    """The largest difference of a criterion's value between two gate.json; NaN if they do not have the same rows.

    Parity is left out: it is a difference of logits, measured against its own limit in each.
    """
    one, two = (
        {each.name: each.value for each in GateMeasurements.from_json(content).rows if each.name != "parity"}
        for content in (then, now)
    )
    if set(one) != set(two):
        return math.nan
    apart = [abs(one[name] - two[name]) for name in one if not math.isnan(one[name]) or not math.isnan(two[name])]
    return math.nan if any(math.isnan(each) for each in apart) else max(apart, default=math.nan)
