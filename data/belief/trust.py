"""Which claims become corrections: doubt, quorum, trusted reporters, caps, contradictions. A pure function.

Each claim is judged alone first (control image, consumed before, already right, not reproducible, cap); what is left is
judged image by image. A *side* is all claims that want one class for one image. It carries if a trusted reporter is on
it, or as many distinct reporters as its doubt asks for, and the quorum at least; a side with a trusted reporter beats
those without. One side that carries wins; two that carry are a conflict; none waits for more reporters, in the inbox,
until patience ends.

Reporters' names are what the reports say: Errata knows no identities. Where strangers can file, anyone can invent a
hundred names, so there set `trusted_needed`, and let the service that files reports vouch for its names.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from errata.data.belief.names import same_reporter
from errata.data.belief.waiting import Waiting
from errata.data.inbox.claim import Claim
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.ledger import Correction, Ledger
from errata.editing.settings import Section, parameter


class TrustSettings(Section):
    """Which claims become corrections. With these limits of doubt at most 3% of what was released was wrong where three
    people saw each image of CIFAR-10 and said what they saw (docs/results/doubt.md)."""

    quorum: int = parameter(
        1, "distinct reporters that a correction needs, however little it is doubted", "reporters", ge=1
    )
    doubt_one: float = parameter(0.03, "most doubt of a claim at which one reporter is enough", "chance", ge=0, le=1)
    doubt_two: float = parameter(0.05, "most doubt at which two reporters are enough", "chance", ge=0, le=1)
    doubt_three: float = parameter(
        0.08, "most doubt at which three reporters are enough; above it takes a trusted one", "chance", ge=0, le=1
    )
    prior_error: float = parameter(
        0.2, "how often somebody of whom nothing is known says a wrong class", "share of images", gt=0, lt=1
    )
    second_opinion: str = parameter(
        "",
        "`module:function`, in the workspace or installed, that makes features `[n, d]` of images uint8 `[n, h, w, c]` "
        "by another network than the root (docs/second-network.md); empty: none",
    )
    trusted: tuple[str, ...] = parameter((), "reporters whose word alone is enough")
    trusted_needed: bool = parameter(
        False, "without a trusted reporter nothing is corrected; set it where strangers can file"
    )
    per_reporter: int = parameter(1000, "most reports that a night takes from one reporter", "reports", ge=1)
    per_class: int = parameter(
        1000, "most corrections towards one class that a night makes; the rest waits", "corrections", ge=1
    )
    patience_days: float = parameter(30.0, "how long a claim waits for its quorum", "days", gt=0, le=36_500)

    def people_needed(self, doubt: float) -> int | None:
        """How many distinct reporters a claim with this doubt needs; None: a trusted one."""
        limits = (self.doubt_one, self.doubt_two, self.doubt_three)
        enough = [people for people, limit in enumerate(limits, 1) if doubt <= limit]
        return max(self.quorum, enough[0]) if enough and not self.trusted_needed else None


@dataclass(frozen=True)
class Aggregate:
    """Every claim is in exactly one place: behind a correction, refused, waiting in the inbox, or consumed before."""

    agreed: tuple[Correction, ...]
    refusals: tuple[Refusal, ...]
    sides_waiting: tuple[Waiting, ...]
    done: tuple[str, ...]

    @property
    def waiting(self) -> tuple[str, ...]:
        """The reports that wait."""
        return tuple(sorted(report for side in self.sides_waiting for report in side.reports))


def aggregate(
    claims: Iterable[Claim],
    ledger: Ledger,
    doubts: Mapping[tuple[str, str], float],
    settings: TrustSettings,
    now: datetime,
) -> Aggregate:
    """What the night makes of `claims`; `ledger` holds the corrections in force.

    `doubts`: of each side, by image and class; one that is not there, or not a number, counts as 1. The order of the
    claims does not matter: the same set gives the same decision.
    """
    night = _Night(ledger, doubts, settings, now)
    for claim in sorted(claims, key=lambda claim: claim.report_id):
        night.hear(claim)
    for correction, heard in sorted(night.heard.items()):
        night.settle(correction, heard)
    return night.decision()


class _Night:
    """The claims on their way to a decision."""

    def __init__(
        self, ledger: Ledger, doubts: Mapping[tuple[str, str], float], settings: TrustSettings, now: datetime
    ) -> None:
        self._ledger = {each.id: each for each in ledger.corrections}
        self._doubts, self._settings, self._now = doubts, settings, now
        self._trusted = {same_reporter(name) for name in settings.trusted}
        self._brought: Counter[str] = Counter()
        self._said: dict[tuple[str, str, str], str] = {}
        self._carried: list[Correction] = []
        self._refusals: list[Refusal] = []
        self._waiting: list[Waiting] = []
        self._done: list[str] = []
        self.heard: defaultdict[str, list[Claim]] = defaultdict(list)

    def hear(self, claim: Claim) -> None:
        """Judge one claim alone."""
        held = self._ledger.get(claim.correction)
        if held is not None and claim.report_id in held.reports:
            self._done.append(claim.report_id)
        elif refusal := self._refusal(claim, held):
            self._refusals.append(refusal)
        else:
            self.heard[claim.correction].append(claim)

    def _refusal(self, claim: Claim, held: Correction | None) -> Refusal | None:
        reporter, limit = same_reporter(claim.reporter), self._settings.per_reporter
        said = (claim.correction, claim.expected, reporter)
        checks = [
            (claim.control, Reason.CONTROL_IMAGE, "it is, or nearly is, an image that judges releases"),
            (held is not None and held.expected == claim.expected, Reason.DUPLICATE, "the ledger has this correction"),
            (claim.now == claim.expected, Reason.ALREADY_RIGHT, f"the live model predicts {claim.now}"),
            (
                claim.predicted not in (None, claim.now),
                Reason.NOT_REPRODUCIBLE,
                f"the report says {claim.predicted} was predicted, the live model predicts {claim.now}",
            ),
            (said in self._said, Reason.DUPLICATE, f"its reporter said so in {self._said.get(said, '')[:12]}"),
            (
                self._brought[reporter] >= limit,
                Reason.REPORTER_CAP,
                f"{claim.reporter} has brought {limit} reports tonight, the most that one may",
            ),
        ]
        for applies, reason, detail in checks:
            if applies:
                return Refusal(claim.report_id, reason, detail)
        self._said[said] = claim.report_id
        self._brought[reporter] += 1
        return None

    def settle(self, correction: str, claims: list[Claim]) -> None:
        """Judge all claims about one image."""
        sides: defaultdict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            sides[claim.expected].append(claim)
        carrying = self._carrying(correction, sides)
        if len(carrying) == 1:
            [winner] = carrying
            self._carried.append(Correction(correction, winner, tuple(claim.report_id for claim in sides.pop(winner))))
            self._refuse(sides, Reason.CONFLICT, f"other reports say {winner}, and carry")
        elif carrying:
            self._refuse(sides, Reason.CONFLICT, f"reports of this image say {' and '.join(sorted(carrying))}")
        elif correction in self._ledger:
            detail = (
                f"the ledger says {self._ledger[correction].expected}, with more reporters behind it; retract it first"
            )
            self._refuse(sides, Reason.CONFLICT, detail)
        else:
            self._wait(correction, sides)

    def _carrying(self, correction: str, sides: Mapping[str, list[Claim]]) -> list[str]:
        """The sides that carry. Against a correction in force a quorum alone must outnumber the reports behind it."""
        with_trusted, with_quorum = [], []
        for expected, claims in sides.items():
            reporters = {same_reporter(claim.reporter) for claim in claims}
            needed = self._needed(correction, expected)
            if reporters & self._trusted:
                with_trusted.append(expected)
            elif needed is not None and len(reporters) >= needed:
                with_quorum.append(expected)
        return with_trusted or with_quorum

    def _needed(self, correction: str, expected: str) -> int | None:
        """How many distinct reporters the side needs; None: a trusted one."""
        needed = self._settings.people_needed(self._doubt(correction, expected))
        if needed is None or correction not in self._ledger:
            return needed
        return max(needed, len(self._ledger[correction].reports) + 1)

    def _doubt(self, correction: str, expected: str) -> float:
        doubt = self._doubts.get((correction, expected), 1.0)
        return doubt if 0 <= doubt <= 1 else 1.0

    def _needs(self, correction: str, expected: str) -> str:
        needed = self._needed(correction, expected)
        return "a trusted reporter" if needed is None else f"{needed} reporters"

    def _refuse(self, sides: Mapping[str, list[Claim]], reason: Reason, detail: str) -> None:
        for claims in sides.values():
            self._refusals += [Refusal(claim.report_id, reason, detail) for claim in claims]

    def _wait(self, correction: str, sides: Mapping[str, list[Claim]]) -> None:
        """Leave claims in the inbox for more reporters to come, but not for ever."""
        patience = timedelta(days=self._settings.patience_days)
        for expected, claims in sides.items():
            needs = self._needs(correction, expected)
            patient = tuple(claim.report_id for claim in claims if self._now - claim.filed_at <= patience)
            if patient:
                needed, people = self._needed(correction, expected), {same_reporter(each.reporter) for each in claims}
                more = None if needed is None else max(0, needed - len(people))
                doubt = self._doubt(correction, expected)
                self._waiting.append(Waiting(correction, expected, doubt, patient, needs, more))
            detail = f"{needs} did not say the same within {self._settings.patience_days:g} days"
            self._refusals += [
                Refusal(claim.report_id, Reason.NO_QUORUM, detail) for claim in claims if claim.report_id not in patient
            ]

    def decision(self) -> Aggregate:
        """The outcome, with each class held to its cap: what most reports support comes first, the rest waits."""
        agreed: list[Correction] = []
        taken: Counter[str] = Counter()
        for each in sorted(self._carried, key=lambda each: (-len(each.reports), each.id)):
            if taken[each.expected] < self._settings.per_class:
                taken[each.expected] += 1
                agreed.append(each)
            else:
                doubt = self._doubt(each.id, each.expected)
                self._waiting.append(
                    Waiting(each.id, each.expected, doubt, each.reports, "another night: its class is full", 0)
                )
        return Aggregate(
            agreed=tuple(sorted(agreed)),
            refusals=tuple(sorted(self._refusals, key=lambda refusal: refusal.report_id)),
            sides_waiting=tuple(sorted(self._waiting)),
            done=tuple(sorted(self._done)),
        )
