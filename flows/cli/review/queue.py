"""The claims that wait for a person: what the last night left waiting, then what no night has looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from errata.data import layout
from errata.data.belief.names import same_reporter
from errata.data.belief.trust import TrustSettings
from errata.data.belief.waiting import Waiting, still_waiting
from errata.data.inbox.what_waits import is_single
from errata.data.releases.manifest import sha256
from errata.data.reports import MAX_REPORT_BYTES, Report, claim_digest, parse_report
from errata.editing.errors import Damaged, DataError, NotStored, TooLarge, Unreadable
from errata.flows.cli.review.live import Desk, Looked

PAGE = 40  # sides on one page


@dataclass(frozen=True)
class Side:
    """All who claim one class of one image, as far as this page shows them.

    `doubt` and `needs` are the last night's, None and "" where none has looked. `problem`: why the image cannot be
    looked at. `decided`: what somebody with the right to decided already; the next night follows it.
    """

    expected: str
    reports: tuple[Report, ...]
    looked: Looked | None
    problem: str
    doubt: float | None
    needs: str
    if_accepted: str
    decided: str

    @property
    def image(self) -> str:
        """The SHA-256 of the image file."""
        return self.reports[0].image

    @property
    def key(self) -> str:
        """A name for it on the page."""
        return "c" + sha256(f"{self.image}\n{self.expected}".encode())[:16]

    @property
    def reporters(self) -> tuple[str, ...]:
        """Who says so."""
        return tuple(sorted({each.reporter for each in self.reports}))

    @property
    def notes(self) -> tuple[str, ...]:
        """What they added."""
        return tuple(dict.fromkeys(each.note for each in self.reports if each.note))


@dataclass(frozen=True)
class Queue:
    """One page of it: its sides, those undecided first, where it starts and where the next one does (None: nowhere)."""

    sides: tuple[Side, ...]
    start: int
    following: int | None
    count: int

    @property
    def undecided(self) -> int:
        """How many of its sides wait for a decision."""
        return sum(not each.decided for each in self.sides)


def is_trusted(name: str, trust: TrustSettings) -> bool:
    """Whether somebody's word alone is enough."""
    return same_reporter(name) in {same_reporter(each) for each in trust.trusted}


def review_report(image: str, expected: str, reviewer: str) -> str:
    """The identity of the report that a reviewer files here: of the claim alone, whatever is live."""
    claim = {"image": image, "expected": expected, "predicted": None, "reporter": reviewer, "model_version": None}
    return claim_digest(claim)


def read_queue(desk: Desk, trust: TrustSettings, slots: int, reviewer: str, start: int = 0) -> Queue:
    """The page that begins at side `start`, as `reviewer` sees it. Raises NightError, Damaged."""
    return _Reader(desk, trust, slots, reviewer).page(start)


class _Reader:
    """What is the same for all sides of one page."""

    def __init__(self, desk: Desk, trust: TrustSettings, slots: int, reviewer: str) -> None:
        self._desk, self._trust, self._slots = desk, trust, slots
        self._model, self._standing = desk.model(), desk.standing()
        self._inbox = {layout.stem(key) for key in desk.storage.keys(layout.INBOX) if is_single(key)}
        self._may_decide = is_trusted(reviewer, trust)
        self._trusted = {*trust.trusted, *((reviewer,) if self._may_decide else ())}

    def page(self, start: int) -> Queue:
        found, _ = still_waiting(self._desk.storage)
        waiting = sorted(found.claims if found else (), key=lambda each: (each.doubt, each.correction, each.expected))
        seen = {report for each in waiting for report in each.reports}
        units: list[Waiting | str] = [*waiting, *sorted(self._inbox - seen)]
        sides: dict[tuple[str, str], tuple[Waiting | None, list[Report]]] = {}
        for unit in units[start : start + PAGE]:
            side, names = (None, (unit,)) if isinstance(unit, str) else (unit, unit.reports)
            for report in self._reports(names):
                looked = self._look(report.image)
                identity = looked.correction if isinstance(looked, Looked) else report.image
                sides.setdefault((identity, report.expected), (side, []))[1].append(report)
        made = []
        for (identity, expected), (side, reports) in sides.items():
            rivals = tuple(sorted(other for image, other in sides if image == identity and other != expected))
            made.append(self._side(expected, tuple(reports), side, rivals))
        after = start + PAGE
        made.sort(key=lambda each: bool(each.decided))
        return Queue(tuple(made), start, after if after < len(units) else None, len(units))

    def _reports(self, names: tuple[str, ...]) -> Iterator[Report]:
        for name in names:
            try:
                yield parse_report(self._desk.storage.get(layout.inbox_report(name), at_most=MAX_REPORT_BYTES))
            except (NotStored, Unreadable, TooLarge, DataError):  # gone meanwhile, or for the night to refuse
                continue

    def _look(self, image: str) -> Looked | str:
        try:
            return self._model.look(image)
        except (DataError, TooLarge, Damaged, Unreadable) as fault:
            return str(fault)

    def _side(
        self, expected: str, reports: tuple[Report, ...], waiting: Waiting | None, rivals: tuple[str, ...]
    ) -> Side:
        looked = self._look(reports[0].image)
        return Side(
            expected=expected,
            reports=reports,
            looked=looked if isinstance(looked, Looked) else None,
            problem=looked if isinstance(looked, str) else "",
            doubt=waiting.doubt if waiting else None,
            needs=(waiting.needs + (f", {waiting.more} more" if waiting.more else "")) if waiting else "",
            if_accepted=self._if_accepted(expected, looked, waiting, rivals),
            decided=self._decided(looked, expected, reports),
        )

    def _decided(self, looked: Looked | str, expected: str, reports: tuple[Report, ...]) -> str:
        decision = self._standing.get((looked.correction, expected)) if isinstance(looked, Looked) else None
        if decision and decision.action == "retracted":
            return f"refused by {decision.by}: {decision.why}"
        people = {each.reporter for each in reports if is_trusted(each.reporter, self._trust)}
        image = reports[0].image  # a trusted report may be on another page
        people |= {name for name in self._trusted if review_report(image, expected, name) in self._inbox}
        people |= {decision.by} if decision else set()
        return f"accepted by {min(people)}: the next night corrects it" if people else ""

    def _if_accepted(
        self, expected: str, looked: Looked | str, waiting: Waiting | None, rivals: tuple[str, ...]
    ) -> str:
        if isinstance(looked, str):
            return "nothing: the next night refuses it, for the image cannot be used"
        if expected not in self._model.classes:
            return f"nothing: the next night refuses it, for the model has no class {expected}"
        if looked.predicted == expected:
            return "nothing: the model says so already, and the next night refuses it as already right"
        if not self._may_decide:
            helps = "only a trusted one helps" if waiting and waiting.more is None else "one more who says so"
            return f"your word counts as one person's ({helps}); trust.trusted in params.yaml does not name you"
        held = self._model.held.get(looked.correction)
        said = f"the next night corrects it, with one of {self._slots} slots ({self._model.slots} are taken)"
        if held is not None:
            said = f"the next night corrects it anew: release {self._model.version} holds it as {held.expected}"
        if rivals:
            said += f"; who says {' or '.join(rivals)} of this image is refused"
        return f"{said}, unless no slot can tell it from control images"
