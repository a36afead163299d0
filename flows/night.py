"""The night, step by step, as plain functions: `correct-model` runs them as Prefect tasks, `errata correct` as is.

    sync -> collect -> batch -> quarantine -> [lay_out -> reproduce -> judge -> find_harm] -> release -> settle -> defer

Each step can be killed: until live.json is swapped nothing has changed for anyone, and a rerun converges, because a
report leaves the inbox only after the release that consumed it is live.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import layout
from data.deferred import defer as defer_report
from data.deferred import forget
from data.images import decode_image, encode_png, fit_image, pixel_digest
from data.manifest import Live, Manifest, read_file, read_live, read_model
from data.quarantine import quarantine as quarantine_report
from data.quarantine import settle as settle_reports
from data.refusals import Reason, Refusal
from data.storage.base import Storage
from editing.errors import AlreadyStored, Damaged, DataError, NightError, NotStored, Superseded
from editing.export import OnnxClassifier
from editing.metrics import predicted_classes
from flows.budget import budget_notice
from flows.deferral import find_harm
from flows.gate import Judgement, Name
from flows.gathering import gather
from flows.judging import Opponent, judge_candidate
from flows.ledger import Correction, Ledger, Pixels, write_ledger
from flows.lessons import lay_out_corrections, lessons_of
from flows.release import Bundle, build_bundle, make_live, publish, record, require_live, verified
from flows.retraction import as_correction, decisions
from flows.summary import LeftOut, NightSummary
from flows.tagging import tag_release
from flows.workspace import Log, Workspace, tree_digest

VERSIONS = 5  # version numbers to try, where runs that died have taken some


@dataclass(frozen=True)
class Night:
    """Where a night works, who asked for it, where its log goes, and a name that no other run has."""

    storage: Storage
    workspace: Workspace
    by: str
    log: Log
    name: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True)
class Parent:
    """What the night starts from: the live release, verified."""

    live: Live
    tag: str
    manifest: Manifest
    ledger: Ledger
    model: bytes = field(repr=False)
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """What the night's reports came to.

    `corrections` are new to the ledger, with their `images`; `withdrawn` leave it, for somebody retracted them; `done`
    are reports that the live release has consumed already (a crash came between its swap and its settling); `refused`
    go to quarantine; `waiting` stay in the inbox until more people say the same; `left_out` are deferred.
    """

    reports: int = 0
    corrections: tuple[Correction, ...] = ()
    images: dict[str, Pixels] = field(default_factory=dict, repr=False)
    withdrawn: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    waiting: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def without(self, harm: Mapping[str, str]) -> Batch:
        """This batch less the corrections in `harm`, each with why."""
        gone = tuple(LeftOut(each.id, each.reports, harm[each.id]) for each in self.corrections if each.id in harm)
        kept = tuple(each for each in self.corrections if each.id not in harm)
        return replace(self, corrections=kept, left_out=self.left_out + gone)


@dataclass(frozen=True)
class Attempt:
    """The last candidate: the `batch` as it is now, the `ledger` that was judged, and how.

    Not `whole` if the batch has lost corrections since it was judged: nobody may let that candidate pass.
    """

    batch: Batch
    ledger: Ledger
    judgement: Judgement
    whole: bool = True


Step = Callable[..., Any]
AsStep = Callable[[str, Step], Step]
Ask = Callable[[Judgement], str]


def run(night: Night, as_step: AsStep = lambda _name, step: step, ask: Ask = lambda _judgement: "") -> NightSummary:
    """The whole night. `as_step(name, function)` may wrap each step, in a Prefect task say.

    `ask(judgement)` may let a person decide what the gate could not: it answers who says yes, or nothing.
    """
    parent: Parent = as_step("sync", sync)(night)
    found: Batch = as_step("collect", collect)(night, parent)
    as_step("quarantine", quarantine)(night, found)
    if found.done:
        as_step("settle", settle)(night, found.done, parent.live.version)
    if not found.corrections and not found.withdrawn:
        return summarise(night, parent.ledger, found, None)
    for version in range(parent.live.newest + 1, parent.live.newest + 1 + VERSIONS):
        last = solve(night, parent, found, version, as_step)
        found, ledger, judgement = last.batch, last.ledger, last.judgement
        yes = ask(judgement) if judgement.verdict == "inconclusive" and last.whole else ""
        released = judgement.verdict == "pass" or bool(yes)
        if released:
            why = f"{len(found.corrections)} new corrections, {len(found.withdrawn)} retracted"
            why += f"; inconclusive, let pass by {yes}" if yes else ""
            why += against(judgement, parent.live.version)
            try:
                as_step("release", release)(night, (parent.live, parent.tag), why=why)
            except AlreadyStored as fault:  # a run that died before its swap left other bytes under this version
                night.log(f"{fault}; taking the next version")
                continue
            consumed = tuple(report for each in found.corrections for report in each.reports)
            as_step("settle", settle)(night, consumed, version)
        if found.left_out:
            as_step("defer", defer)(night, found)
        return summarise(night, ledger if released else parent.ledger, found, judgement, released=released)
    raise NightError(f"versions {parent.live.newest + 1} to {version} are taken by runs that died; look at releases/")


def against(judgement: Judgement, version: int) -> str:
    """The drawdown against the release before, for the log: a bundle knows no parent, so it cannot hold it."""
    rows = [each for each in judgement.criteria if each.name == Name.DRAWDOWN_LIVE]
    return "".join(f"; drawdown against release {version} {each.value:+.2%}, at most {each.bound:.2%}" for each in rows)


def solve(night: Night, parent: Parent, batch: Batch, version: int, as_step: AsStep) -> Attempt:
    """A candidate that the gate lets pass, without what does harm; or the last of `deferral.attempts` that it did not.

    A candidate without anything new is not made: then nothing passes.
    """
    for turn in range(night.workspace.params.deferral.attempts):
        ledger: Ledger = as_step("lay out", lay_out)(night, parent, batch, version)
        as_step("reproduce", reproduce)(night, root=parent.manifest.root)
        judgement: Judgement = as_step("gate", judge)(night, parent)
        if judgement.verdict == "pass":
            return Attempt(batch, ledger, judgement)
        new = [each.id for each in batch.corrections]
        harm: dict[str, str] = as_step("find harm", find_harm)(night.workspace, judgement, new, turn)
        if not harm:
            return Attempt(batch, ledger, judgement)
        night.log(f"the gate says: {judgement.sentence}; {len(harm)} of {len(new)} new corrections are left out")
        batch = batch.without(harm)
        if not batch.corrections and not batch.withdrawn:
            break
    return Attempt(batch, ledger, judgement, whole=False)


def sync(night: Night) -> Parent:
    """Read and verify the live release; bring the workspace's root in line with it."""
    storage, workspace = night.storage, night.workspace
    storage.probe()
    live, tag = require_live(storage)
    manifest = verified(storage, live.version, live.manifest_sha256)
    record(storage, live)  # a crash between swap and log left no entry
    tag_release(workspace, storage, manifest, night.log)  # nor a tag
    restore_root(night, manifest)
    spec = json.loads((workspace.root / "model.json").read_text())
    height, width, channels = spec["image_shape"]
    return Parent(
        live=live,
        tag=tag,
        manifest=manifest,
        ledger=Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode()),
        model=read_model(storage, manifest),
        classes=tuple(spec["classes"]),
        image_shape=(height, width, channels),
    )


def restore_root(night: Night, manifest: Manifest) -> None:
    """Make sure that the workspace holds the live release's root: from DVC's remote if it does not."""
    workspace = night.workspace
    workspace.use_remote(night.storage.url)
    lay_out_corrections(night.storage, workspace.lessons, lessons_of(night.storage, manifest))
    same_root = root_digest(workspace) == manifest.root
    if same_root and workspace.lock_is_whole:
        return
    (workspace.folder / "dvc.lock").write_bytes(read_file(night.storage, manifest, "dvc.lock"))
    if same_root:
        night.log("dvc.lock was missing or damaged; it is the live release's again")
        return
    night.log("the workspace holds another root; fetching the live release's from DVC's remote")
    workspace.dvc("pull", "--force", "prepare", "train", log=night.log)
    if root_digest(workspace) != manifest.root:
        raise Damaged(f"the root in DVC's remote is not that of release {manifest.version}; run `errata train`")


def root_digest(workspace: Workspace) -> str | None:
    """The digest of the workspace's root, or None if there is none."""
    try:
        return tree_digest(workspace.root)
    except DataError:
        return None


def collect(night: Night, parent: Parent) -> Batch:
    """The inbox as a batch: what was agreed on, and what people withdrew or took back."""
    standing = decisions(night.storage)
    found = gather(night, parent, standing)
    corrections = [Correction(each.correction, each.expected, each.reports) for each in found.agreed]
    images = dict(found.images)
    held = {each.id for each in parent.ledger.corrections}
    classifier = OnnxClassifier(parent.model)
    for decision in standing.values():
        if decision.action == "reinstated" and decision.correction not in {*held, *images}:
            pixels = correction_image(night.storage, decision.correction, parent.image_shape)
            logits = classifier.predict(pixels[None]).logits
            if parent.classes[predicted_classes(logits)[0]] != decision.expected:
                corrections.append(as_correction(decision))
                images[decision.correction] = pixels
    withdrawn = tuple(
        each.id
        for each in parent.ledger.corrections
        if (verdict := standing.get(each.claim)) and verdict.action == "retracted"
    )
    return Batch(found.reports, tuple(corrections), images, withdrawn, found.done, found.refused, found.waiting)


def judge(night: Night, parent: Parent | None = None) -> Judgement:
    """The gate's answer, also on the candidate against the live release `parent` where there is one."""
    live = Opponent(parent.model, parent.manifest.splits) if parent else None
    return judge_candidate(night.workspace, live)


def lay_out(night: Night, parent: Parent, batch: Batch, version: int) -> Ledger:
    """Write the night's ledger and its images where the edit stage reads them; keep new images in the store."""
    ledger = parent.ledger.without(version, batch.withdrawn).grown(version, batch.corrections)
    images = dict(batch.images)
    for each in ledger.corrections:
        if each.id in images:
            keep_image(night.storage, each.id, images[each.id])
        else:
            images[each.id] = correction_image(night.storage, each.id, parent.image_shape)
    write_ledger(night.workspace.ledger, ledger, images)
    return ledger


def keep_image(storage: Storage, identity: str, pixels: Pixels) -> None:
    """Put a correction's image into the store, unless it is there."""
    try:
        storage.get(layout.correction_image(identity))
    except NotStored:
        storage.put_once(layout.correction_image(identity), encode_png(pixels))


def correction_image(storage: Storage, identity: str, image_shape: tuple[int, int, int]) -> Pixels:
    """A correction's image from the store, checked against its identity."""
    key = layout.correction_image(identity)
    try:
        pixels: NDArray[np.uint8] = fit_image(decode_image(storage.get(key)), image_shape)
    except NotStored as fault:
        raise Damaged(f"{key} is gone from the store; restore it, or `errata retract {identity[:12]}`") from fault
    if pixel_digest(pixels) != identity:
        raise Damaged(f"{key} was changed in the store; restore it, or `errata retract {identity[:12]}`")
    return pixels


def reproduce(night: Night, *, root: str | None = None) -> None:
    """`dvc repro evaluate`, its output to the log as it comes; NightError if it gives another root than `root`."""
    night.workspace.dvc("repro", "evaluate", log=night.log)
    if root is not None and root_digest(night.workspace) != root:
        raise NightError("the root was trained anew, for code or parameters changed; release it first: `errata train`")


def release(night: Night, parent: tuple[Live, str] | None, *, why: str) -> Bundle:
    """Push the bytes, publish the bundle, make it live.

    Raises Superseded if live.json is not `parent` any more, and AlreadyStored if the version's files are taken.
    """
    bundle = build_bundle(night.workspace)
    night.workspace.use_remote(night.storage.url)
    night.workspace.dvc("push", "--quiet", log=night.log)
    try:
        publish(night.storage, bundle)
    except AlreadyStored:
        found = read_live(night.storage)
        if (found and found[1]) != (parent and parent[1]):
            raise Superseded("superseded: another release went live meanwhile; nothing was consumed") from None
        raise
    make_live(night.storage, bundle.manifest, parent, action="released", by=night.by, why=why, run=night.name)
    tag_release(night.workspace, night.storage, bundle.manifest, night.log)
    return bundle


def settle(night: Night, reports: tuple[str, ...], version: int) -> None:
    """Move what release `version` consumed out of the inbox.

    How often each was left out is forgotten first: after a crash in between nobody would.
    """
    forget(night.storage, reports)
    settle_reports(night.storage, sorted(reports), version)


def defer(night: Night, batch: Batch) -> None:
    """Count one more night for the reports that were left out; after enough of them, quarantine."""
    enough = night.workspace.params.deferral.nights
    for each in batch.left_out:
        for report in each.reports:
            if (nights := defer_report(night.storage, report, each.why, night.name).nights) >= enough:
                refusal = Refusal(report, Reason.HARMFUL, f"left out of a release {nights} times; the last: {each.why}")
                quarantine_report(night.storage, refusal, datetime.now(UTC))
                forget(night.storage, [report])


def quarantine(night: Night, batch: Batch) -> None:
    """Keep each refused report with its typed reason, and forget how often it was left out."""
    now = datetime.now(UTC)
    for refusal in batch.refused:
        quarantine_report(night.storage, refusal, now)
    forget(night.storage, [each.report_id for each in batch.refused])


def summarise(
    night: Night, ledger: Ledger, batch: Batch, judgement: Judgement | None, *, released: bool | None = None
) -> NightSummary:
    """What the night came to; `ledger` is the one now in force. `released`: by default, if the gate let it pass."""
    found = read_live(night.storage)
    live = found[0].version if found else None
    common = NightSummary(
        outcome="nothing to correct",
        version=live,
        reports=batch.reports,
        corrections=len(batch.corrections),
        in_force=len(ledger.corrections),
        refused=batch.refused,
        left_out=batch.left_out,
    )
    if judgement is None:
        return common
    measured = night.workspace.read_json(night.workspace.gate)
    error = measured["error"]["gate"]
    if notice := budget_notice(measured["corrections"], night.workspace.params.model.slots, judgement):
        night.log(notice)
    released = judgement.verdict == "pass" if released is None else released
    return replace(
        common,
        outcome="released" if released else "not released",
        error_before=error["before"],
        error_after=error["after"],
        where=f"{night.storage.url}/{layout.release_file(live, '')}" if live else "",
        sentence="" if released else judgement.sentence,
        judgement=judgement,
        budget=notice,
    )
