"""From the inbox to the night's batch: reports checked one by one, then all together, and what people decided.

    read the inbox (data.inbox.intake) -> what can be true (data.inbox.validation) -> all of it as one table, held
    against the operator's expectations (flows.night.check_reports) -> whom to believe (data.belief.trust)

Images are streamed; those of the corrections that carry are fetched again, so that memory holds no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from errata.data.belief.track_record import track_records
from errata.data.belief.trust import aggregate
from errata.data.images import Pixels
from errata.data.inbox import intake
from errata.data.inbox.claim import Claim
from errata.data.inbox.control_guard import ControlGuard
from errata.data.inbox.intake import Accepted
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.inbox.validation import validate_reports
from errata.data.inbox.what_waits import waiting
from errata.data.releases.correction_images import correction_image
from errata.data.releases.erasure import erased_digests
from errata.data.releases.kind_inputs import stored_inputs
from errata.data.splits import load_split, read_record
from errata.data.spool import spooled
from errata.editing.engine import chosen_engine
from errata.editing.metrics import predicted_classes
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.night.check_reports import check_reports, load_report_suite
from errata.flows.night.doubts import DoubtEstimator
from errata.flows.night.state import Batch, Night, Parent
from errata.flows.night.step import STORE_AWAY, step
from errata.flows.releases.decision import Decision, as_correction
from errata.flows.releases.standing import decisions

OPEN = {"train", "traffic"}  # splits whose images may be reported; all others judge, have judged, or set thresholds


@step("collect", waits=STORE_AWAY)
def collect(night: Night, parent: Parent) -> Batch:
    """The inbox as a batch: what was agreed on, and what people withdrew or took back."""
    standing = decisions(night.storage, parent.live)
    found = believed(night, parent, standing)
    held = {each.id for each in parent.ledger.corrections}
    corrections, images = list(found.corrections), dict(found.images)
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
    return replace(
        found,
        corrections=tuple(corrections),
        images=images,
        withdrawn=withdrawn,
        kind_inputs=stored_inputs(night.storage),
    )


def believed(night: Night, parent: Parent, standing: Mapping[tuple[str, str], Decision]) -> Batch:
    """What the inbox alone comes to. `standing`: decisions of people on claims, by correction and class."""
    if next(waiting(night.storage), None) is None:
        return Batch()  # at once: what checks a table takes seconds to be imported
    from errata.data.expectations.tables import ReportRow  # noqa: PLC0415

    moment = datetime.now(UTC)
    settings = intake.IntakeSettings(batch=night.workspace.params.batches, erased=erased_digests(night.storage))
    suite = load_report_suite(night, parent, moment)  # a fault in it is told before images are fetched and looked at
    estimator = DoubtEstimator(night.workspace, parent)
    refused: list[Refusal] = []
    rows: dict[str, ReportRow] = {}

    def usable() -> Iterator[Accepted]:
        for each in intake.read_inbox(night.storage, parent.classes, parent.image_shape, settings, chosen_engine()):
            if isinstance(each, Refusal):
                refused.append(each)
            else:
                rows[each.report.id] = ReportRow(each.report, each.correction, each.width, each.height)
                yield each

    claims = list(intake.as_claims(usable(), parent.classes, estimator.predict, Control(night)))
    count = len(claims) + len(refused)
    alone = validate_reports([row.report for row in rows.values()], parent.live.newest, moment)
    refused += alone.refusals
    gone = {*(each.report_id for each in refused), *alone.waiting}
    usable_rows = [row for report_id, row in rows.items() if report_id not in gone]
    observed = None
    if usable_rows:
        broken, observed = check_reports(night, suite, usable_rows, moment)
        refused += broken
        gone |= {each.report_id for each in broken}
    refused += withdrawn_claims([claim for claim in claims if claim.report_id not in gone], standing)
    gone |= {each.report_id for each in refused}
    left = {claim.report_id: claim for claim in claims if claim.report_id not in gone}
    trust = night.workspace.params.trust
    withdrawn = {report for each in standing.values() if each.action == "retracted" for report in each.reports}
    records = track_records(night.storage, withdrawn) if left else {}
    doubts = estimator.doubts(left.values(), trust.prior_error, records)
    decision = aggregate(left.values(), parent.ledger, doubts, trust, moment)
    if observed is not None:
        accepted = {each.id: doubts[each.claim] for each in decision.agreed if each.claim in doubts}
        observed = observed.model_copy(update={"doubts": accepted})
    shape = parent.image_shape
    return Batch(
        reports=count,
        corrections=decision.agreed,
        images={each.id: intake.evidence(night.storage, left[each.reports[0]], shape) for each in decision.agreed},
        refused=(*refused, *decision.refusals),
        waiting=tuple(sorted((*alone.waiting, *decision.waiting))),
        sides_waiting=decision.sides_waiting,
        done=decision.done,
        observed=observed,
    )


class Control:
    """Whether images are of the control set; prepared when first asked, so that a night without reports is short."""

    def __init__(self, night: Night) -> None:
        self._night = night
        self._guard: ControlGuard | None = None

    def __call__(self, pixels: Pixels) -> NDArray[np.bool_]:
        if self._guard is None:
            folder = self._night.workspace.splits
            images = [
                load_split(folder, name).images for name in sorted(read_record(folder).splits) if name not in OPEN
            ]
            self._guard = self._night.guard(spooled(images, images[0].shape[1:], folder.parent))
        return np.asarray(self._guard.match(pixels) >= 0)


def withdrawn_claims(claims: Iterable[Claim], standing: Mapping[tuple[str, str], Decision]) -> Iterator[Refusal]:
    """A refusal for each report of a claim that somebody withdrew."""
    for each in claims:
        verdict = standing.get((each.correction, each.expected))
        if verdict is not None and verdict.action == "retracted":
            detail = f"{verdict.by} withdrew this correction: {verdict.why}; `errata reinstate {each.correction[:12]}`"
            yield Refusal(each.report_id, Reason.RETRACTED, detail)
