"""What a reviewer decides, and the record that each decision leaves in the store, which the nights honour.

Who accepts a claim, or says another class, files a report like everybody else: the reviewer's word, which is enough
alone where `trust.trusted` names this person. Who refuses a claim leaves the record
that `errata retract` writes: no night takes it, whoever reports it, until somebody accepts it here or reinstates it.
"""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass
from starlette.exceptions import HTTPException

from errata.data.belief.report_states import State, report_state
from errata.data.belief.trust import TrustSettings
from errata.data.records import STRICT, Sha256
from errata.data.releases.correction_images import keep_image
from errata.data.releases.erasure import erased_digests
from errata.data.releases.ledger import Correction
from errata.data.reports import Name, Note, make_report, put_report, read_image
from errata.editing.errors import DataError
from errata.flows.cli.review.live import Desk
from errata.flows.cli.review.queue import is_trusted
from errata.flows.releases.classes import check_class
from errata.flows.releases.retraction import record_decision, retract

IN_REVIEW = "said in review"


@dataclass(frozen=True, config=STRICT)
class Decided:
    """What a form says: `action` on the claim that the image file `image` is of class `expected`.

    `reports`: those that make the claim, separated by blanks; `other`: the class that it is instead.
    """

    action: Literal["accept", "refuse", "other"]
    image: Sha256
    expected: Name
    reports: str = ""
    other: str = ""
    why: Note = ""


def decide(desk: Desk, trust: TrustSettings, reviewer: str, said: Decided) -> str:
    """Record a decision; returns what follows from it, in a sentence.

    Raises HTTPException (403) if it takes a trusted reviewer, DataError if it cannot be, Damaged, StoreError.
    """
    model = desk.model()
    looked = model.look(said.image)
    if {said.image, looked.correction} & erased_digests(desk.storage):
        raise DataError("this photo was erased because somebody asked for it; nothing is decided about it")
    if said.action == "accept":
        return _say(desk, trust, reviewer, said.image, said.expected)
    if said.action == "other":
        check_class(said.other, model.classes)
        if said.other == said.expected:
            raise DataError(f"{said.other} is the class that is claimed; accept the claim instead")
        if said.other == looked.predicted:
            return _refuse(desk, trust, reviewer, said, f"it is {said.other}, as the model says")
        told = _say(desk, trust, reviewer, said.image, said.other)
        if is_trusted(reviewer, trust):
            _refuse(desk, trust, reviewer, said, f"it is {said.other}")
        return told
    return _refuse(desk, trust, reviewer, said, said.why)


def withdraw(desk: Desk, trust: TrustSettings, reviewer: str, report_id: str, why: str) -> str:
    """Withdraw the correction that a report is behind: the next night releases a model without it.

    Raises HTTPException (403), DataError, NightError, StoreError.
    """
    needs_trust(trust, reviewer)
    correction = desk.model().correction_of(report_id)
    if correction is None:
        state = report_state(desk.storage, report_id).state
        where = (
            "only its root has learned from it" if state == State.IN_RELEASE else "the live release does not hold it"
        )
        raise DataError(f"there is nothing to withdraw: {where}")
    retract(desk.storage, correction.id, correction.expected, by=reviewer, why=reason(why))
    return "withdrawn: the next night releases a model without it"


def _say(desk: Desk, trust: TrustSettings, reviewer: str, image: str, expected: str) -> str:
    """File the reviewer's own report, and take back what was decided against the claim."""
    looked = desk.model().look(image)
    if looked.predicted == expected:
        raise DataError(f"the live model says {expected} already: there is nothing to correct")
    standing = desk.standing()
    against = standing.get((looked.correction, expected))
    trusted = is_trusted(reviewer, trust)
    if against and against.action == "retracted":
        needs_trust(trust, reviewer)
        keep_image(desk.storage, looked.correction, looked.pixels)
        claim = Correction(looked.correction, expected, against.reports)
        record_decision(desk.storage, standing, claim, "reinstated", by=reviewer, why=IN_REVIEW)
    content = read_image(desk.storage, image)
    report = make_report(content, expected, reporter=reviewer, note=IN_REVIEW)  # its identity: `review_report`
    put_report(desk.storage, report, content)
    if trusted:
        return f"accepted: the next night corrects it to {expected}"
    return f"noted: one more person says {expected}; trust.trusted does not name you"


def _refuse(desk: Desk, trust: TrustSettings, reviewer: str, said: Decided, why: str) -> str:
    needs_trust(trust, reviewer)
    looked = desk.model().look(said.image)
    reports = tuple(sorted(set(said.reports.split())))
    for each in reports:
        if len(each) != 64 or not set(each) <= set("0123456789abcdef"):
            raise DataError(f"{each[:80]!r} is no report's identity")
    claim = Correction(looked.correction, said.expected, reports)
    keep_image(desk.storage, looked.correction, looked.pixels)  # so that it can be accepted again later
    record_decision(desk.storage, desk.standing(), claim, "retracted", by=reviewer, why=reason(why))
    return f"refused: the next night puts who says {said.expected} into quarantine"


def needs_trust(trust: TrustSettings, reviewer: str) -> None:
    """Raises HTTPException (403) unless this reviewer's word alone is enough."""
    if not is_trusted(reviewer, trust):
        raise HTTPException(
            403, f"trust.trusted in params.yaml does not name {reviewer}; that takes a trusted reviewer"
        )


def reason(why: str) -> str:
    """The reason that was given; raises DataError without one."""
    if not why.strip():
        raise DataError("say why: whoever reported it is told")
    return why.strip()
