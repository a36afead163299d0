"""What the report shows one by one: corrections, images beside them that turned, kinds, slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord, KindRecord
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation, FlippedImage, Flips, KindOutcome
from errata.data.releases.ledger import Ledger
from errata.data.reports import Report
from errata.flows.gate.criterion import GateResult
from errata.flows.releases.contents.history import HistoryPoint

MOST_FLIPS = 60  # pictures of images that broke, and of those that came right, by group
KIND_PICTURES = 8  # of each kind's corrections


@dataclass(frozen=True)
class Beside:
    """Images that nobody reported, and what became of them; `pictures`: URLs by number, of those that there are."""

    where: str
    flips: Flips
    pictures: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is known where a page is made on demand, and no bundle may hold.

    `judged`: the gate's rows as the look saw them at which the release was judged. `reports` by identity, as far as the
    store has them; `doubts` and `views` (one picture with all unseen views) by correction; `tests`: pictures of test
    images by number; `requests`: the day's, where their classes are known.
    """

    history: Sequence[HistoryPoint] = ()
    judged: GateResult | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)
    doubts: Mapping[str, float] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[int, str] = field(default_factory=dict)
    requests: Beside | None = None


@dataclass(frozen=True)
class Card:
    """A correction drawn; `picture` is its image's URL, empty if the image was erased.

    `count` reports are behind it, of which `reports` are known; its slot `broke` so many of the images beside it.
    `why`: why it is deferred, or "".
    """

    outcome: CorrectionOutcome
    picture: str
    views: str
    count: int
    reports: tuple[Report, ...]
    doubt: float | None
    kind: str
    why: str
    broke: int

    @property
    def holds(self) -> bool:
        """Whether the shipped file says what it should."""
        return self.outcome.after == self.outcome.expected

    @property
    def classes(self) -> str:
        """By which names the page's filter knows it."""
        named = {
            "held" if self.holds else "broken": True,
            "partial": bool(self.outcome.views_right < self.outcome.views),
            "harmful": bool(self.broke),
            "restored": not self.outcome.mended,
            "deferred": bool(self.why),
        }
        return " ".join(name for name, true in named.items() if true)


FILTERS = {
    "broken": "do not hold",
    "deferred": "deferred",
    "partial": "some view wrong",
    "harmful": "broke something beside them",
    "restored": "the root had them right",
}


@dataclass(frozen=True)
class FlipRow:
    """An image beside the corrections drawn; the slot of correction `key`, or the kind `kind`, turned it."""

    flip: FlippedImage
    picture: str
    key: str
    kind: str


@dataclass(frozen=True)
class FlipGroup:
    """The images of one place that turned: the first of those that `broke` or were `mended`, and how many there are."""

    where: str
    images: int
    broke: int
    mended: int
    rows: tuple[FlipRow, ...]


@dataclass(frozen=True)
class KindRow:
    """A kind drawn: what it is, on how many images it fires (None: it is not used), and some of its corrections."""

    record: KindRecord
    outcome: KindOutcome | None
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SlotRow:
    """A slot and how often it fires: on calibration images (a share), and deciding gate images (a count)."""

    slot: int
    key: str
    expected: str
    margin: float
    calibration: float
    decided: int


def beside_groups(evaluation: Evaluation, known: Known) -> list[Beside]:
    """The images whose classes are known and that nobody reported, by where they come from."""
    groups = [known.requests] if known.requests else []
    if evaluation.test is not None:
        groups.append(Beside("images of the test split, which decides nothing", evaluation.test, known.tests))
    return groups


def flip_group(group: Beside, edited: EditRecord) -> FlipGroup:
    """Of one place, the images that broke before those that came right."""
    kinds = {each.kind: each.name for each in edited.used_kinds}
    broke, mended = (
        [
            FlipRow(
                each, group.pictures.get(each.index, ""), edited.by_slot.get(each.slot, ""), kinds.get(each.kind, "")
            )
            for each in group.flips.flipped
            if each.broken == broken
        ]
        for broken in (True, False)
    )
    rows = (*broke[:MOST_FLIPS], *mended[:MOST_FLIPS])
    return FlipGroup(group.where, group.flips.images, len(broke), len(mended), rows)


def cards_of(
    evaluation: Evaluation,
    edited: EditRecord,
    ledger: Ledger,
    pictures: Mapping[str, str],
    known: Known,
) -> list[Card]:
    """Every correction. Raises KeyError for one that the ledger lacks."""
    reports = {each.id: each.reports for each in ledger.corrections}
    kinds = {each.kind: each.name for each in edited.used_kinds}
    flipped = (each for group in beside_groups(evaluation, known) for each in group.flips.flipped)
    broke = Counter(edited.by_slot.get(each.slot, "") for each in flipped if each.broken)
    cards = [
        Card(
            outcome=each,
            picture=pictures.get(each.id, ""),
            views=known.views.get(each.id, ""),
            count=len(reports[each.id]),
            reports=tuple(known.reports[name] for name in reports[each.id] if name in known.reports),
            doubt=known.doubts.get(each.id),
            kind=kinds.get(each.kind, ""),
            why=WHY_DEFERRED[edited.deferred[each.id]] if each.id in edited.deferred else "",
            broke=broke[each.id],
        )
        for each in evaluation.corrections
    ]
    return sorted(cards, key=_ease)


def _ease(card: Card) -> tuple[bool, bool, int, int, str, str]:
    """What to look at comes first: it does not hold, a release broke it, it breaks others, few views are right."""
    found = card.outcome
    return card.holds, found.mended, -card.broke, found.views_right, found.expected, found.id


def slot_rows(edited: EditRecord, evaluation: Evaluation, ledger: Ledger) -> list[SlotRow]:
    """The slots that were written, in the order of their numbers."""
    expected, decided = {each.id: each.expected for each in ledger.corrections}, evaluation.decided
    rows = [
        SlotRow(
            slot=each.slot,
            key=each.key,
            expected=expected.get(each.key, ""),
            margin=each.margin,
            calibration=each.calibration_firing,
            decided=decided.get(each.slot, 0),
        )
        for each in edited.slots
        if each.separated
    ]
    return sorted(rows, key=lambda row: row.slot)


def kind_rows(edited: EditRecord, evaluation: Evaluation, pictures: Mapping[str, str]) -> list[KindRow]:
    """The kinds that were found, with what evaluation saw of each."""
    outcomes = {each.kind: each for each in evaluation.kinds}
    return [
        KindRow(
            each,
            outcomes.get(each.kind),
            tuple((name, pictures[name]) for name in sorted(each.corrections) if name in pictures)[:KIND_PICTURES],
        )
        for each in edited.kinds
    ]


def eagerness(row: SlotRow) -> tuple[int, float, int]:
    """A key that sorts slots by how much they decide, then by how much they fire."""
    return -row.decided, -row.calibration, row.slot
