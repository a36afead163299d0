"""A new root: trained on the train split and the corrections in force, and released.

The old ledger is the new root's regression test: a correction that the root learned leaves the ledger, the others stay
in it, and every one of them must come out right in the file that ships. The live release is its measure: a root that is
worse than what is live does not replace it, unless a person says so and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from errata.data import layout
from errata.data.releases.correction_images import copy_corrections, correction_image
from errata.data.releases.kind_inputs import stored_inputs, write_inputs
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Live, Manifest, read_file, read_live, read_manifest, read_model
from errata.data.releases.replay import NONE, replay_of
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, NightError, NotStored
from errata.editing.metrics import predicted_classes
from errata.editing.model import ModelSpec
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.gate.criterion import AGAINST_LIVE, Criterion, GateResult, Name
from errata.flows.gate.judge import LiveModel, against_live, judge_candidate
from errata.flows.gate.standing import gate_standing
from errata.flows.gate.tolerance import tolerances_sentence
from errata.flows.night.candidate import run_pipeline
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.release import release
from errata.flows.night.run import VERSIONS, summarise, without_slot
from errata.flows.night.state import Batch, Night
from errata.flows.night.step import STORE_AWAY, RunStep, run_here, step
from errata.flows.night.summary import NightSummary
from errata.flows.releases.gate_images import fetch_gates
from errata.flows.releases.pointer import log_entries, verified
from errata.flows.releases.standing import decisions
from errata.flows.stages.prepare import check_source
from errata.flows.workspace import Workspace


@dataclass(frozen=True)
class Inherited:
    """What the old root leaves to the new one: the ledger in force, all that a root was ever taught, the model itself.

    `parent` is the live pointer and its tag, None before a first release. `first` is the first root that was ever
    released, None if it cannot be had.
    """

    ledger: Ledger
    replay: Ledger
    parent: tuple[Live, str] | None = None
    live: LiveModel | None = None
    first: LiveModel | None = None


def train_new_root(night: Night, run_step: RunStep = run_here, *, replace_live: str = "") -> NightSummary:
    """Train a root on the train split and the corrections in force, and release it with those that it did not learn.

    `replace_live` is a person's reason for a root that does not prove itself against the live release, for other
    classes say; every other criterion must pass all the same.
    """
    with alone(night, "the training of a root"):
        return _run_steps(night, run_step, replace_live)


def _run_steps(night: Night, run_step: RunStep, replace_live: str) -> NightSummary:
    run_step(check_data_set, night)
    inherited = run_step(inherit, night)
    ledger, first = inherited.ledger, inherited.ledger.version
    if ledger.corrections:
        run_step(write_root_inputs, night, first, inherited, ledger)
        run_step(train, night)
        ledger = run_step(still_wrong, night, inherited)
    for version in range(first, first + VERSIONS):
        ledger = run_step(write_root_inputs, night, version, inherited, ledger)
        run_pipeline(night, run_step)
        gate_result = run_step(judge_root, night, inherited)
        passes, why = gate_result.verdict == "pass", "a new root"
        if not passes and replace_live.strip() and apart_from(gate_result, AGAINST_LIVE).verdict == "pass":
            passes, why = True, f"a new root, though {gate_result.sentence}: {replace_live}"
        if passes:
            try:
                run_step(release, night, inherited.parent, why=why)
            except AlreadyStored as fault:  # a run that died before its swap left other bytes under this version
                night.log(f"{fault}; taking the next version")
                continue
        run_step(tell_tolerances, night)
        since = since_first_root(night, inherited, gate_result)
        deferred = without_slot(night.workspace)
        summary = run_step(summarise, night, ledger, Batch(), gate_result, released=passes, deferred=deferred)
        return replace(summary, since_first_root=since)
    raise NightError(f"versions {first} to {version} are taken by runs that died; look at releases/")


@step("check data set")
def check_data_set(night: Night) -> None:
    """Raises DataError if the data set was changed since it was split."""
    check_source(night.workspace)


@step("inherit", waits=STORE_AWAY)
def inherit(night: Night) -> Inherited:
    """The corrections in force, which the new root shall learn; raises Damaged if the live release does not verify."""
    fetch_gates(night.storage, night.workspace)
    found = read_live(night.storage)
    if found is None:
        return Inherited(Ledger(1), NONE)
    manifest = verified(night.storage, found[0].version, found[0].manifest_sha256)
    ledger = Ledger.from_jsonl(read_file(night.storage, manifest, "ledger.jsonl").decode())
    retracted = {claim for claim, each in decisions(night.storage, found[0]).items() if each.action == "retracted"}

    def kept(ledger: Ledger, version: int) -> Ledger:
        out = [each.id for each in ledger.corrections if each.claim in retracted]
        return ledger.without(version, out)

    in_force = kept(ledger, found[0].newest + 1)
    return Inherited(
        in_force,
        kept(replay_of(night.storage, manifest), 0).grown(0, in_force.corrections),
        found,
        live_model(night.storage, manifest),
        first_root(night.storage),
    )


def live_model(storage: Storage, manifest: Manifest) -> LiveModel:
    """The model of a release, to measure a new root by."""
    classes = read_file(storage, manifest, layout.LABELS).decode().splitlines()
    return LiveModel(read_model(storage, manifest), tuple(classes), manifest.splits)


def first_root(storage: Storage) -> LiveModel | None:
    """The model of the first release that ever was live; None if it is gone or damaged."""
    try:
        first = log_entries(storage)[0]
        return live_model(storage, read_manifest(storage, first.version, first.manifest_sha256))
    except (IndexError, NotStored, Damaged):  # a crash may have left the very first entry unwritten
        return None


@step("write ledger", waits=STORE_AWAY)
def write_root_inputs(night: Night, version: int, inherited: Inherited, ledger: Ledger) -> Ledger:
    """What the stages read: the replay set for training, and the corrections that stay in force."""
    copy_corrections(night.storage, night.workspace.replay, inherited.replay)
    ledger = replace(ledger, version=version)
    copy_corrections(night.storage, night.workspace.ledger, ledger)
    write_inputs(night.storage, night.workspace.ledger, stored_inputs(night.storage))
    return ledger


@step("train")
def train(night: Night) -> None:
    """The root alone."""
    night.workspace.dvc("repro", "train", log=night.log)


@step("old ledger", waits=STORE_AWAY)
def still_wrong(night: Night, inherited: Inherited) -> Ledger:
    """The corrections that the new root gets wrong all the same: they stay in the ledger."""
    right = predicted_right(night, inherited.ledger, night.workspace.root / "root.onnx")
    night.log(f"the new root gets {len(right)} of {len(inherited.ledger.corrections)} corrections right by itself")
    return inherited.ledger.without(inherited.ledger.version, right)


def predicted_right(night: Night, ledger: Ledger, file: Path) -> frozenset[str]:
    """The corrections of a ledger whose images an ONNX file predicts as expected."""
    if not ledger.corrections:
        return frozenset()
    classifier = OnnxClassifier(file)
    images = [correction_image(night.storage, each.id, classifier.image_shape) for each in ledger.corrections]
    predicted = predicted_classes(classifier.predict(np.stack(images)).logits)
    classes = root_classes(night.workspace)
    return frozenset(
        each.id for each, now in zip(ledger.corrections, predicted, strict=True) if classes[now] == each.expected
    )


def root_classes(workspace: Workspace) -> tuple[str, ...]:
    """The names of the classes, from the root's specification."""
    return ModelSpec.from_json(workspace.read(workspace.root / "model.json").decode()).classes


@step("gate", waits=STORE_AWAY)
def judge_root(night: Night, inherited: Inherited) -> GateResult:
    """The gate's answer, and the old ledger as a regression test: what was promised holds, learned or edited.

    But for what no slot of the new root can hold: that is deferred, here as in any release.
    """
    gate_result = judge_candidate(night.workspace, inherited.live, night.looks, new_root=True)
    promised = inherited.ledger.without(0, without_slot(night.workspace))
    count = len(promised.corrections)
    if not count:
        return gate_result
    share = len(predicted_right(night, promised, night.workspace.onnx / "model.onnx")) / count
    kept = Criterion("old_corrections", share, share, 1.0, "at least", count)
    return replace(gate_result, criteria=(*gate_result.criteria, kept))


def apart_from(gate_result: GateResult, names: frozenset[Name]) -> GateResult:
    """The same answer without some of its rows."""
    return replace(gate_result, criteria=tuple(each for each in gate_result.criteria if each.name not in names))


@step("tell tolerances", waits=STORE_AWAY)
def tell_tolerances(night: Night) -> None:
    """Log how many flips each of an edit's limits will let pass at the next look."""
    standing = gate_standing(night.workspace, night.storage)
    night.log(f"{tolerances_sentence(standing.tolerances)}; `errata control show` tells of later looks")


def since_first_root(night: Night, inherited: Inherited, gate_result: GateResult) -> str:
    """The error that all roots since the first have added up to, in words: measured between the first and this one.

    Bounded as the other rows of this look.
    """
    if inherited.first is None:
        return "" if inherited.live is None else "not measured: the first root's bundle cannot be had"
    rows = against_live(night.workspace, inherited.first, night.workspace.params.gate, new_root=True)
    (row,) = (each for each in rows if each.name == Name.DRAWDOWN_LIVE)
    row = row if gate_result.confidence is None else row.at(gate_result.confidence)
    return f"{row.value:+.2%}, at most {row.bound:.2%}" if row.n else "not measured: the first root had other classes"
