"""From the inbox to claims that were agreed on: the night's reports checked one by one, then all together.

    collect (data.intake) -> Great Expectations (data.validation) -> trust (data.trust)

Images are streamed in chunks; of the pixels only one image for each claim that may become a correction is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from data import intake
from data.control_guard import ControlGuard
from data.images import Pixels
from data.intake import Accepted
from data.refusals import Reason, Refusal
from data.splits import load_split
from data.trust import Agreed, Claim, TrustSettings, decide
from data.validation import report_table, validate_reports
from editing.export import OnnxClassifier
from editing.metrics import predicted_classes
from flows.params import TrustParams

if TYPE_CHECKING:
    from flows.night import Night, Parent
    from flows.retraction import Decision

CHUNK = 256
CONTROL = ("reference", "calibration", "gate", "test")


@dataclass(frozen=True)
class Gathered:
    """What the inbox came to: how many reports, what was agreed on with its images, and where the others go."""

    reports: int
    agreed: tuple[Agreed, ...]
    images: dict[str, Pixels] = field(repr=False)
    refused: tuple[Refusal, ...]
    waiting: tuple[str, ...]
    done: tuple[str, ...]


def gather(night: Night, parent: Parent, standing: Mapping[tuple[str, str], Decision]) -> Gathered:
    """Everything in the inbox, judged. `standing`: decisions of people on claims, by correction and class."""
    live = OnnxClassifier(parent.model)
    folder = night.workspace.splits
    guard = ControlGuard(np.concatenate([load_split(folder, name).images for name in CONTROL]))
    seen: list[tuple[Accepted, str, bool]] = []
    images: dict[str, Pixels] = {}
    refused: list[Refusal] = []
    count = 0
    for chunk in chunks(intake.collect(night.storage, parent.classes, parent.image_shape)):
        count += len(chunk)
        refused += [each for each in chunk if isinstance(each, Refusal)]
        accepted = [each for each in chunk if isinstance(each, Accepted)]
        if not accepted:
            continue
        pixels = np.stack([each.pixels for each in accepted])
        now = predicted_classes(live.predict(pixels).logits)
        for each, predicted, control in zip(accepted, now, guard.match(pixels) >= 0, strict=True):
            images.setdefault(each.correction, each.pixels)
            seen.append((replace(each, pixels=each.pixels[:0]), parent.classes[predicted], bool(control)))
    moment = datetime.now(UTC)
    refused += withdrawn_claims([each for each, _, _ in seen], standing)
    gone = {each.report_id for each in refused}
    seen = [each for each in seen if each[0].report.id not in gone]
    table = report_table([each for each, _, _ in seen])
    invalid = validate_reports(table, len(seen), parent.classes, parent.live.newest, moment).refusals
    gone = {each.report_id for each in invalid}
    claims = [
        Claim(
            report_id=each.report.id,
            image=each.report.image,
            correction=each.correction,
            expected=each.report.expected,
            predicted=each.report.predicted,
            reporter=each.report.reporter,
            filed_at=each.report.filed_at,
            now=now,
            control=control,
        )
        for each, now, control in seen
        if each.report.id not in gone
    ]
    ledger = {each.id: each for each in parent.ledger.corrections}
    decision = decide(claims, ledger, trust_settings(night.workspace.params.trust), moment)
    return Gathered(
        reports=count,
        agreed=decision.agreed,
        images={each.correction: images[each.correction] for each in decision.agreed},
        refused=(*refused, *invalid, *decision.refusals),
        waiting=decision.waiting,
        done=decision.done,
    )


def chunks(items: Iterable[Accepted | Refusal]) -> Iterator[list[Accepted | Refusal]]:
    """`items` in lists of at most CHUNK."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def withdrawn_claims(accepted: Iterable[Accepted], standing: Mapping[tuple[str, str], Decision]) -> Iterator[Refusal]:
    """A refusal for each report of a claim that somebody withdrew."""
    for each in accepted:
        verdict = standing.get((each.correction, each.report.expected))
        if verdict is not None and verdict.action == "retracted":
            detail = f"{verdict.by} withdrew this correction: {verdict.why}; `errata reinstate {each.correction[:12]}`"
            yield Refusal(each.report.id, Reason.RETRACTED, detail)


def trust_settings(params: TrustParams) -> TrustSettings:
    """The trust section of params.yaml, as data.trust takes it."""
    return TrustSettings(**{**params.model_dump(), "trusted": frozenset(params.trusted)})
