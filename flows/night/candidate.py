"""A candidate that passes the gate: the ledger written, the pipeline run, the gate asked, harm left out, once more."""

from __future__ import annotations

from functools import partial

from errata.data import layout
from errata.data.releases.correction_images import correction_file, keep_image, remove_images
from errata.data.releases.erasure import ERASED_MEANWHILE, erased_digests
from errata.data.releases.kind_inputs import write_inputs
from errata.data.releases.ledger import Ledger, write_ledger
from errata.editing.errors import NightError, Superseded
from errata.editing.model import load_model
from errata.flows.deferral.find_harm import find_displacing, find_harm
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.judge import LiveModel, count_look, judge_candidate
from errata.flows.night.parent import root_digest
from errata.flows.night.state import Attempt, Batch, Night, Parent
from errata.flows.night.step import STORE_AWAY, RunStep, step
from errata.flows.releases.pointer import vouch_for_looks
from errata.flows.stages.answers import open_answers
from errata.flows.stages.common import load_plugins, open_features


def make_candidate(night: Night, parent: Parent, batch: Batch, version: int, run_step: RunStep) -> Attempt:
    """A candidate that the gate lets pass, without what does harm; or the last that it did not.

    After `deferral.attempts` there is one more, which holds no more corrections than the gate's counts say will pass.

    A candidate without anything new is not made: then nothing passes.
    """
    for turn in range(night.workspace.params.deferral.attempts + 1):
        ledger = run_step(write_candidate_ledger, night, parent, batch, version)
        run_pipeline(night, run_step, root=parent.manifest.root)
        gate_result = run_step(judge, night, parent)
        new = [each.id for each in batch.corrections]
        harm = run_step(find_competing, night, new, set(parent.deferred))
        if gate_result.verdict == "pass" and not harm:
            return Attempt(batch, ledger, gate_result)
        harm = harm or run_step(find_harmful, night, gate_result, new, turn)
        if not harm:
            return Attempt(batch, ledger, gate_result)
        night.log(f"the gate says: {gate_result.sentence}; {len(harm)} of {len(new)} new corrections are left out")
        batch = batch.without(harm)
        if not batch.changes(parent):
            break
    return Attempt(batch, ledger, gate_result, whole=False)


@step("write ledger", waits=STORE_AWAY)
def write_candidate_ledger(night: Night, parent: Parent, batch: Batch, version: int) -> Ledger:
    """Write the night's ledger and its images where the edit stage reads them; keep new images in the store."""
    ledger = parent.ledger.without(version, batch.withdrawn).grown(version, batch.corrections)
    new, images = batch.images, {}
    for each in ledger.corrections:
        if each.id in new:
            images[each.id] = keep_image(night.storage, each.id, new[each.id])
        else:
            images[each.id] = correction_file(night.storage, each.id, parent.image_shape)
    write_ledger(night.workspace.ledger, ledger, images)
    write_inputs(night.storage, night.workspace.ledger, batch.kind_inputs)
    if gone := erased_digests(night.storage) & set(new):  # an erasure deletes what lies there once it is asked
        remove_images(night.workspace.ledger, gone)
        for identity in sorted(gone):
            night.storage.delete(layout.correction_image(identity))
        raise Superseded(ERASED_MEANWHILE)
    return ledger


def run_pipeline(night: Night, run_step: RunStep, *, root: str | None = None) -> None:
    """The file that ships made, the look at it counted, then the file measured: no number is known of a look that is
    not counted, wherever a night is killed. Raises NightError if DVC gives another root than `root`."""
    run_step(reproduce, night, root=root)
    run_step(count_this_look, night)
    run_step(evaluate, night)


@step("dvc repro")
def reproduce(night: Night, *, root: str | None) -> None:
    """`dvc repro export`, its output to the log as it comes; NightError if it gives another root than `root`."""
    night.workspace.dvc("repro", "export", log=night.log)
    if root is not None and root_digest(night.workspace) != root:
        raise NightError("the root was trained anew, for code or parameters changed; release it first: `errata train`")


@step("count look", waits=STORE_AWAY)
def count_this_look(night: Night) -> None:
    """Count the look at the gate split that comes next, and let live.json vouch for it."""
    count_look(night.workspace, night.looks)
    vouch_for_looks(night.storage, night.looks)


@step("evaluate")
def evaluate(night: Night) -> None:
    """`dvc repro evaluate`, its output to the log as it comes."""
    night.workspace.dvc("repro", "evaluate", log=night.log)


@step("gate", waits=STORE_AWAY)
def judge(night: Night, parent: Parent) -> GateResult:
    """The gate's answer on the candidate, also against the live release.

    Both were held against their files before: what they say of control images follows from the root's features.
    """
    live = LiveModel(parent.model, parent.classes, parent.manifest.splits, parent.learned)
    load_plugins(night.workspace.params.model.plugins, night.workspace)
    root = load_model(night.workspace.root)
    by_features = partial(open_answers, root=root, features=open_features(night.workspace, root, "gate"))
    return judge_candidate(night.workspace, live, night.looks, open_file=by_features)


@step("find competing")
def find_competing(night: Night, new: list[str], before: set[str]) -> dict[str, str]:
    """Which of the corrections `new` take slots from others, each with why; `before` had none in the live release."""
    return find_displacing(night.workspace, new, before)


@step("find harm")
def find_harmful(night: Night, gate_result: GateResult, new: list[str], turn: int) -> dict[str, str]:
    """Which of the corrections `new` to leave out of the next attempt, each with why."""
    return find_harm(night.workspace, gate_result, new, turn)
