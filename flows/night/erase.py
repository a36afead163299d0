"""Erasing a person's photo: asked, for good; evidence deleted; a release without it; weights that hold it removed.

    ask -> announce -> delete evidence -> leave gate splits -> [a night] -> remove weights -> done

Each step may be repeated, so an erasure that was killed anywhere goes on where it was, by the same command. Once it is
asked no report of the photo is taken, no night releases it, and nobody can go back to a release that holds it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from errata.data import layout
from errata.data.releases.candidate import read_candidate
from errata.data.releases.correction_images import remove_images
from errata.data.releases.erasure import Erased, Erasure, ask, erasures, outcome_of, record_outcome
from errata.data.releases.manifest import Live, read_live, read_manifest, read_model, sha256
from errata.data.storage.base import Storage
from errata.editing.errors import DataError
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.run import night_steps
from errata.flows.night.state import Night
from errata.flows.night.step import STORE_AWAY, RunStep, run_here, step
from errata.flows.night.summary import NightSummary
from errata.flows.releases.gate_images import check_gates, gates_without, replace_gates
from errata.flows.releases.pointer import announce
from errata.flows.releases.retention.photo import Shape, find_photo
from errata.flows.releases.retention.remote import judging_objects, spent_objects
from errata.flows.releases.retention.stored import (
    StoredBundle,
    record_removals,
    remove_bundle,
    removed_keys,
    stored_bundles,
)
from errata.flows.releases.standing import edited_by
from errata.flows.workspace import Workspace


@dataclass(frozen=True)
class ErasurePlan:
    """What an erasure would do. `asked`: it was begun before.

    `holding` are releases whose ledger holds the photo: their weights go, and if one of them is live a night makes
    another. `never_live` are bundles of runs that died: all of them goes. `taught` are releases whose root learned
    from it: these stay until a new root is trained. `unread`: files and reports that cannot be read now and that may
    be of the photo: they stay.
    """

    erasure: Erasure
    asked: bool
    live: int | None
    holding: tuple[int, ...]
    never_live: tuple[int, ...]
    taught: tuple[int, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErasureOutcome:
    """What came of it: `erased` once nothing is left, and the night that it took, if it took one."""

    erasure: Erasure
    erased: Erased | None
    night: NightSummary | None = None


def plan_erasure(storage: Storage, *, name: str = "", content: bytes = b"", by: str, why: str) -> ErasurePlan:
    """What erasing a photo would do (`flows.releases.retention.photo` tells how it is named); nothing is changed.

    An erasure of it that was begun and not ended is gone on with. Raises DataError if the photo is not there, or was
    erased.
    """
    found = read_live(storage)
    live = found[0] if found else None
    bundles = stored_bundles(storage, live)
    known = list(erasures(storage))
    mine = [each for each in known if _is_about(each, name, content)]
    begun = next((each for each in mine if outcome_of(storage, each) is None), None)
    unread: tuple[str, ...] = ()
    if begun is None:
        try:
            photo = find_photo(storage, bundles, _shape(storage, live), name=name, content=content)
        except DataError as fault:
            if mine:
                raise DataError(f"it was erased already, on {mine[-1].at[:10]}: erasure {mine[-1].number}") from fault
            raise
        unread = photo.unread
        begun = Erasure(
            len(known) + 1,
            photo.images,
            photo.identities,
            photo.corrections,
            photo.reports,
            by,
            why,
            datetime.now(UTC).isoformat(timespec="seconds"),
            gates_without(storage, photo.identities),
        )
    return ErasurePlan(
        begun,
        begun in known,
        live.version if live else None,
        tuple(each.version for each in _holding(begun, bundles) if each.last_live),
        tuple(each.version for each in _holding(begun, bundles) if not each.last_live),
        _taught(begun, bundles),
        unread,
    )


def erase(night: Night, plan: ErasurePlan, run_step: RunStep = run_here) -> ErasureOutcome:
    """Carry a plan out; another run in the same workspace is waited for.

    If the gate lets no release without the photo pass, what lies in the store as pictures is gone, the erasure stays
    open, and the same command goes on with it.
    """
    with alone(night, "an erasure"):
        erasure, summary = plan.erasure, None
        if not plan.asked:
            check_gates(night.storage, night.workspace, erasure)
            erasure = run_step(ask_for, night, erasure)
        run_step(bar, night, erasure)
        run_step(delete_evidence, night, erasure)
        night = run_step(leave_gates, night, erasure)
        if run_step(is_live, night, erasure):
            summary = night_steps(night, run_step)
            if run_step(is_live, night, erasure):
                return ErasureOutcome(erasure, None, summary)
        run_step(remove_weights, night, erasure)
        return ErasureOutcome(erasure, run_step(finish, night, erasure), summary)


@step("ask", waits=STORE_AWAY)
def ask_for(night: Night, erasure: Erasure) -> Erasure:
    """Record what is asked: from now on it does not come back."""
    return ask(night.storage, erasure)


@step("announce", waits=STORE_AWAY)
def bar(night: Night, erasure: Erasure) -> None:
    """Log it by a swap of live.json: a night or a rollback that is under way loses, and the next one knows."""
    if read_live(night.storage) is not None:
        announce(night.storage, "erased", erasure.key, by=erasure.by, why=erasure.why)


@step("delete evidence", waits=STORE_AWAY)
def delete_evidence(night: Night, erasure: Erasure) -> None:
    """Delete the photo's files, its pictures at the model's input size, and the reports that speak of it."""
    storage, reports = night.storage, set(erasure.reports)
    for image in erasure.images:
        storage.delete(layout.image(image))
    for identity in erasure.identities:
        storage.delete(layout.correction_image(identity))
        storage.delete(layout.labelled_image(identity))
        storage.delete(layout.question(identity))
    for prefix in (layout.INBOX, layout.SETTLED, layout.QUARANTINE, layout.DEFERRED):
        for key in [key for key in storage.keys(prefix) if layout.stem(key) in reports]:
            storage.delete(key)
    for folder in (night.workspace.ledger, night.workspace.labelled, night.workspace.replay):
        remove_images(folder, erasure.identities)
    shutil.rmtree(night.workspace.features, ignore_errors=True)  # what was made of its views is kept there too


@step("leave gate splits", waits=STORE_AWAY)
def leave_gates(night: Night, erasure: Erasure) -> Night:
    """Take the photo out of each gate split that an operator added; returns the night with the params.yaml of then."""
    if not erasure.gates:
        return night
    replace_gates(night.storage, night.workspace, erasure)
    changed = replace(night, workspace=Workspace(night.workspace.folder))
    changed.workspace.dvc("repro", "prepare", log=night.log)
    return changed


@step("look", waits=STORE_AWAY)
def is_live(night: Night, erasure: Erasure) -> bool:
    """Whether the live release holds the photo."""
    found = read_live(night.storage)
    if found is None:
        return False
    manifest = read_manifest(night.storage, found[0].version, found[0].manifest_sha256)
    return any(each.id in erasure.identities for each in edited_by(night.storage, manifest))


@step("remove weights", waits=STORE_AWAY)
def remove_weights(night: Night, erasure: Erasure) -> None:
    """Remove the weights of each release that holds the photo, by a record, and what DVC keeps of them."""
    storage, found = night.storage, read_live(night.storage)
    live = found[0] if found else None
    holding = _holding(erasure, stored_bundles(storage, live))
    whole = [each for each in holding if each.last_live and each.removal is None and each.removable]
    record_removals(storage, whole, "erased", by=erasure.by, why=erasure.why, at=erasure.at, erasure=erasure.number)
    bundles = stored_bundles(storage, live)
    removals = [each.removal for each in bundles if each.removal and (live is None or each.version != live.version)]
    spent = {each.version for each in removals} | {each.version for each in holding}
    judged = judging_objects(storage, erasure.identities) if erasure.gates else []
    for key in (*spent_objects(storage, bundles, spent), *judged, *removed_keys(removals)):
        storage.delete(key)
    candidate = read_candidate(storage)
    if candidate and candidate.version in {each.version for each in holding if not each.last_live}:
        storage.delete(layout.CANDIDATE)  # services that have it in memory let it go
    for each in holding:
        if not each.last_live:  # of a run that died, or a candidate
            remove_bundle(storage, each.version)
    night.workspace.dvc("gc", "--workspace", "--force", "--quiet", log=night.log)


@step("done", waits=STORE_AWAY)
def finish(night: Night, erasure: Erasure) -> Erased:
    """Record that nothing is left but what a root learned."""
    found = read_live(night.storage)
    bundles = stored_bundles(night.storage, found[0] if found else None)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    version = found[0].version if found else None
    return record_outcome(night.storage, Erased(erasure.number, version, _taught(erasure, bundles), at))


def _holding(erasure: Erasure, bundles: Iterable[StoredBundle]) -> list[StoredBundle]:
    """The bundles whose ledger holds the photo."""
    gone = {*erasure.identities}
    return [each for each in bundles if any(held.id in gone for held in each.edited)]


def _taught(erasure: Erasure, bundles: Iterable[StoredBundle]) -> tuple[int, ...]:
    """The releases whose root learned from the photo, and whose weights are there."""
    gone = {*erasure.identities}
    return tuple(each.version for each in bundles if not each.removal and any(held.id in gone for held in each.taught))


def _is_about(erasure: Erasure, name: str, content: bytes) -> bool:
    """Whether it is an erasure of the photo that `name` begins, or of the file `content`."""
    if content:
        return sha256(content) in erasure.images
    return bool(name) and any(each.startswith(name) for each in (*erasure.digests, *erasure.reports))


def _shape(storage: Storage, live: Live | None) -> Shape | None:
    """Height, width, channels of the live model's images."""
    if live is None:
        return None
    return OnnxClassifier(read_model(storage, read_manifest(storage, live.version, live.manifest_sha256))).image_shape
