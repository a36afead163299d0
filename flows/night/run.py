"""The night in the order of its steps: `correct-model` runs them as Prefect tasks, `errata correct` as they are.

    sync -> collect -> quarantine -> keep observations
      -> [write ledger -> dvc repro -> count look -> evaluate -> gate -> find competing -> find harm]
      -> ask people [-> shadow] -> release -> settle -> defer

Each step can be killed: until live.json is swapped nothing has changed for anyone, and a rerun converges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from errata.data import layout
from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord, Unheld
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_live
from errata.editing.errors import AlreadyStored, NightError
from errata.flows.gate.criterion import GateResult, Name
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.night.ask import ask_people
from errata.flows.night.budget import budget_notice
from errata.flows.night.candidate import make_candidate
from errata.flows.night.check_reports import keep_observed
from errata.flows.night.collect import collect
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.parent import sync
from errata.flows.night.release import defer, quarantine, release, renew, settle
from errata.flows.night.shadow import hold_against_shadow, shadow_sentence, take_up_candidate, wanted
from errata.flows.night.state import AskApproval, Batch, Night
from errata.flows.night.step import STORE_AWAY, RunStep, run_here, step
from errata.flows.night.summary import NightSummary
from errata.flows.workspace import Workspace

NOTHING_LEFT = "without the corrections that take slots from others nothing is new"
VERSIONS = 5  # version numbers to try, where runs that died have taken some


def run_night(
    night: Night, run_step: RunStep = run_here, ask_approval: AskApproval = lambda _gate_result: ""
) -> NightSummary:
    """The whole night. `run_step` calls each step, in a Prefect task say.

    `ask_approval` may let a person decide what the gate could not: it answers who says yes, or nothing. Another run in
    the same workspace is waited for.
    """
    with alone(night, "a night"):
        return night_steps(night, run_step, ask_approval)


def night_steps(night: Night, run_step: RunStep, ask_approval: AskApproval = lambda _gate_result: "") -> NightSummary:
    """The steps of a night, for whoever holds the workspace."""
    parent = run_step(sync, night)
    found = run_step(collect, night, parent)
    run_step(quarantine, night, found)
    run_step(keep_observed, night, found)
    if found.done:
        run_step(settle, night, found.done, parent.live.version)
    if not found.changes(parent):
        run_step(renew, night)
        return run_step(summarise, night, parent.ledger, found, None, deferred=parent.deferred)
    first = parent.live.newest + 1
    if wanted(night):
        found, first = run_step(take_up_candidate, night, parent, found)
    for version in range(first, first + VERSIONS):
        last = make_candidate(night, parent, found, version, run_step)
        found, ledger, gate_result = last.batch, last.ledger, last.gate_result
        run_step(ask_people, night)
        if wanted(night) and gate_result.verdict == "pass" and last.whole:
            try:
                gate_result = run_step(hold_against_shadow, night, parent, found, gate_result)
            except AlreadyStored as fault:  # another candidate has taken this version
                night.log(f"{fault}; taking the next version")
                continue
        yes = ask_approval(gate_result) if gate_result.verdict == "inconclusive" and last.whole else ""
        deferred = without_slot(night.workspace)
        released = (gate_result.verdict == "pass" and last.whole) or bool(yes)
        if released:
            why = f"{len(found.corrections)} new corrections, {len(found.withdrawn)} retracted"
            why += "; other labelled images or decisions about kinds" if found.kind_inputs != parent.kind_inputs else ""
            why += f"; {len(deferred)} deferred, for no slot can hold them" if deferred else ""
            why += f"; inconclusive, let pass by {yes}" if yes else ""
            why += drawdown_sentence(gate_result, parent.live.version) + shadow_sentence(gate_result)
            why += f"; look {gate_result.look} at the gate split"
            try:
                run_step(release, night, (parent.live, parent.tag), why=why)
            except AlreadyStored as fault:  # a run that died before its swap left other bytes under this version
                night.log(f"{fault}; taking the next version")
                continue
            consumed = tuple(report for each in found.corrections for report in each.reports)
            run_step(settle, night, consumed, version)
        if found.deferred:
            run_step(defer, night, found)
        if not released:
            run_step(renew, night)
            ledger, deferred = parent.ledger, parent.deferred
        return run_step(summarise, night, ledger, found, gate_result, released=released, deferred=deferred)
    raise NightError(f"versions {first} to {version} are taken by runs that died; look at releases/")


def without_slot(workspace: Workspace) -> Mapping[str, Unheld]:
    """The corrections of the candidate's ledger that no slot can hold, each with why."""
    return EditRecord.from_json(workspace.read(workspace.candidate / "edit.json")).deferred


def drawdown_sentence(gate_result: GateResult, version: int) -> str:
    """The drawdown against the release before, for the log: a bundle knows no parent, so it cannot hold it."""
    rows = [each for each in gate_result.criteria if each.name == Name.DRAWDOWN_LIVE]
    return "".join(f"; drawdown against release {version} {each.value:+.2%}, at most {each.bound:.2%}" for each in rows)


@step("summarise", waits=STORE_AWAY)
def summarise(
    night: Night,
    ledger: Ledger,
    batch: Batch,
    gate_result: GateResult | None,
    *,
    released: bool = False,
    deferred: Mapping[str, Unheld],
) -> NightSummary:
    """What the night came to; `ledger` is the one now in force, less those of it that are `deferred`."""
    found = read_live(night.storage)
    live = found[0].version if found else None
    common = NightSummary(
        outcome="nothing to correct",
        version=live,
        reports=batch.reports,
        corrections=len(batch.corrections),
        in_force=len(ledger.corrections) - len(deferred),
        without_slot={name: WHY_DEFERRED[why] for name, why in deferred.items()},
        refused=batch.refused,
        settled=(*batch.done, *(name for each in batch.corrections for name in each.reports if released)),
        deferred=batch.deferred,
        warnings=batch.observed.warnings if batch.observed else (),
        waiting=batch.sides_waiting,
    )
    if gate_result is None:
        return common
    measured = GateMeasurements.from_json(night.workspace.read(night.workspace.gate))
    error = measured.error.gate
    if notice := budget_notice(measured.corrections, night.workspace.params.model.slots, gate_result):
        night.log(notice)
    return replace(
        common,
        outcome="released" if released else "not released",
        error_before=error.before,
        error_after=error.after,
        where=f"{night.storage.url}/{layout.release_file(live, '')}" if live else "",
        sentence="" if released else gate_result.sentence if gate_result.verdict != "pass" else NOTHING_LEFT,
        gate_result=gate_result,
        budget=notice,
    )
