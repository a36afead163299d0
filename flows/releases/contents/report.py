"""The release report: one HTML file, rendered from a bundle's files.

It is part of the bundle, so it is a pure function of what the release is a function of: no time, no machine, no
history. It refers to the corrections' pictures where the store keeps them and holds none itself, so that a picture that
is erased there is gone. `errata page` renders the same page on demand, with the pictures in it and with what only the
store knows: the releases before it.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from errata.data import layout
from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord, KindRecord
from errata.data.releases.evaluation import ClassOutcome, CorrectionOutcome, Evaluation, KindOutcome
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import sha256
from errata.editing.errors import DataError
from errata.flows.gate.criterion import Criterion, GateResult, Name
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.gate.tables import GateRow, bound_name, gate_row

LARGEST_SIDE = 96  # pixels of a thumbnail; smaller images are embedded as they are
SHARP = 40  # up to this side a browser shows single pixels as squares rather than blur them
MEANING: dict[str, str] = {
    Name.ACCURACY: "right predictions of the shipped file on control images",
    Name.PARITY: "largest difference of a logit between torch and ONNX Runtime",
    Name.CORRECTIONS_HOLD: "corrections that come out right in the shipped file",
    Name.GENERALIZATION: "unseen views of corrected images that come out right",
    Name.DRAWDOWN: "error rate added on control images, against the root",
    Name.DRAWDOWN_LIVE: "error rate added on control images, against the release before",
    Name.NEGATIVE_FLIPS_LIVE: "control images that the release before gets right and a new root wrong",
    Name.RECALL_DROP_LIVE: "recall lost against the release before, by the class that loses most",
    Name.NEGATIVE_FLIPS: "control images that the root gets right and the release wrong",
    Name.RECALL_DROP: "recall lost by the class that loses most",
    Name.BOUNDARY_FLIPS: "negative flips among the control images that the root is least sure of",
    Name.SLICE_FLIPS: "negative flips in the slice that loses most: a class and its rival, a column, a cluster",
    Name.TRIGGER: "control images that turn to a class when what its corrections have in common is laid over them",
    Name.KIND_GAIN: "held-out corrections of a kind that it mends, by the kind that mends least",
    Name.KIND_DRAWDOWN: "error rate added to labelled images of a kind, by the kind that loses most",
    Name.REACH: "control images that any slot can change at all",
    Name.REACH_TRAFFIC: "unlabelled traffic that any slot can change at all",
}


@dataclass(frozen=True)
class Bar:
    """A criterion drawn: positions in percent of the track's width; `start` is zero's, None is not drawn."""

    row: GateRow
    meaning: str
    start: float
    fill: tuple[float, float] | None
    whisker: float | None
    mark: float | None


@dataclass(frozen=True)
class Card:
    """A correction drawn; `picture` is its image's URL, empty if the image was erased."""

    outcome: CorrectionOutcome
    picture: str
    reports: int
    holds: bool


@dataclass(frozen=True)
class KindRow:
    """A kind drawn: what it is, and on how many images it fires; None where it is not used."""

    record: KindRecord
    outcome: KindOutcome | None


@dataclass(frozen=True)
class SlotRow:
    """A slot and how often it fires: on calibration images (a share), and deciding gate images (a count)."""

    slot: int
    key: str
    expected: str
    margin: float
    calibration: float
    decided: int


@dataclass(frozen=True)
class HistoryPoint:
    """One point of the history: a release's error on its gate split, before and after.

    None where the store no longer has the bundle that was live: nothing is told of it, and nothing drawn.
    """

    version: int
    corrections: int | None = None
    before: float | None = None
    after: float | None = None
    live: bool = False

    @property
    def drawdown(self) -> float | None:
        """Error rate of the release minus that of its root."""
        return None if self.after is None or self.before is None else self.after - self.before


def criterion_bar(criterion: Criterion) -> Bar:
    """Where value, bound and limit lie on a track that holds all three and zero."""
    known = [each for each in (criterion.value, criterion.bound, criterion.limit) if math.isfinite(each)]
    low, high = min(0.0, *known), max(0.0, *known)
    if criterion.direction == "at least":
        high = max(high, 1.0)
    else:
        high += 0.15 * (high - low or 1.0)
    low -= 0.08 * (high - low) if low < 0 else 0.0

    def place(value: float) -> float | None:
        return round(100 * (value - low) / (high - low), 3) if math.isfinite(value) else None

    start, value = place(0.0) or 0.0, place(criterion.value)
    return Bar(
        row=gate_row(criterion),
        meaning=MEANING.get(criterion.name, ""),
        start=start,
        fill=None if value is None else (min(start, value), abs(value - start)),
        whisker=None if criterion.bound == criterion.value else place(criterion.bound),
        mark=place(criterion.limit),
    )


def thumbnail(content: bytes) -> str:
    """A `data:` URL of a PNG file: the file as it is if the image is small, else a JPEG of at most LARGEST_SIDE."""
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    if max(image.size) <= LARGEST_SIDE:
        return f"data:image/png;base64,{base64.b64encode(content).decode()}"
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def picture_links(ledger: Ledger) -> dict[str, str]:
    """Where each correction's picture lies in the store, as seen from a bundle's folder."""
    return {each.id: f"../../{layout.correction_image(each.id)}" for each in ledger.corrections}


def render_report(
    files: Mapping[str, bytes],
    pictures: Mapping[str, str],
    lineage: Sequence[tuple[str, str]],
    history: Sequence[HistoryPoint] = (),
    judged: GateResult | None = None,
    *,
    longest_side: int,
) -> bytes:
    """The page, from a bundle's `files` by name and the URLs of the corrections' `pictures`.

    An erased picture has no URL. `lineage` is (what, digest) from the inputs to the file; `history` and `judged`, the
    gate's rows as the look saw them at which the release was judged, are for pages made on demand; `longest_side` is
    that of a picture in pixels. The same arguments give the same bytes. Raises DataError if a file is missing or
    unreadable.
    """
    try:
        measured = GateMeasurements.from_json(files["gate.json"])
        edited = EditRecord.from_json(files["edit.json"])
        evaluation = Evaluation.from_json(files["evaluation.json"])
        ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
        cards = _cards(evaluation, ledger, pictures)
    except KeyError as fault:
        raise DataError(f"the report needs {fault}, which is missing; run `dvc repro`") from fault
    gate_result = judged or measured.gate_result
    slots = _slots(edited, evaluation, ledger)
    page = page_templates().get_template("report.html.j2")
    return page.render(
        version=ledger.version,
        kind=gate_result.kind,
        verdict=gate_result.verdict,
        sentence=gate_result.sentence,
        bars=[criterion_bar(each) for each in gate_result.criteria],
        missing=[name.replace("_", " ") for name in gate_result.missing],
        error=measured.error,
        bound=bound_name(gate_result.confidence),
        looks=gate_result.looks_sentence,
        reach=_measured(gate_result, Name.REACH),
        cards=cards,
        sharp=longest_side <= SHARP,
        holding=sum(card.holds for card in cards),
        reports=sum(card.reports for card in cards),
        classes=evaluation.classes,
        flips=sum(each.negative_flips + each.positive_flips for each in evaluation.classes),
        most_flips=_most_flips(evaluation.classes),
        slots=slots,
        firing=sorted((slot for slot in slots if slot.calibration or slot.decided), key=_eagerness)[:20],
        images_judged=sum(each.n for each in evaluation.classes),
        kinds=_kinds(edited, evaluation),
        why_deferred={name: WHY_DEFERRED[why] for name, why in edited.deferred.items()},
        kind_names={each.kind: each.name for each in edited.used_kinds},
        lineage=list(lineage),
        history=list(history),
        chart=history_chart(history),
    ).encode()


def _measured(gate_result: GateResult, name: str) -> float | None:
    """A criterion's value, None where it was not measured."""
    values = [each.value for each in gate_result.criteria if each.name == name and math.isfinite(each.value)]
    return values[0] if values else None


def bundle_lineage(version: int, files: Mapping[str, bytes], digests: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what, SHA-256) from the inputs, `digests` by name, to the files that ship."""
    return [
        *digests.items(),
        *((name, sha256(files[name])) for name in ("edit.json", layout.model_file(version), "gate.json")),
    ]


def _cards(evaluation: Evaluation, ledger: Ledger, pictures: Mapping[str, str]) -> list[Card]:
    reports = {each.id: len(each.reports) for each in ledger.corrections}
    cards = [
        Card(each, pictures.get(each.id, ""), reports[each.id], each.after == each.expected)
        for each in evaluation.corrections
    ]
    return sorted(cards, key=lambda card: (card.holds, card.outcome.expected, card.outcome.id))


def _slots(edited: EditRecord, evaluation: Evaluation, ledger: Ledger) -> list[SlotRow]:
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


def _kinds(edited: EditRecord, evaluation: Evaluation) -> list[KindRow]:
    outcomes = {each.kind: each for each in evaluation.kinds}
    return [KindRow(each, outcomes.get(each.kind)) for each in edited.kinds]


def _eagerness(row: SlotRow) -> tuple[int, float, int]:
    return -row.decided, -row.calibration, row.slot


def _most_flips(classes: Sequence[ClassOutcome]) -> int:
    return max([1, *(max(each.negative_flips, each.positive_flips) for each in classes)])


def history_chart(history: Sequence[HistoryPoint]) -> dict[str, Any] | None:
    """The drawdown of each release as points of a 600 x 180 drawing; None without at least two to draw."""
    drawn = [(each, each.drawdown) for each in history if each.drawdown is not None]
    if len(drawn) < 2:
        return None
    low, high = min(0.0, *(value for _, value in drawn)), max(0.0, *(value for _, value in drawn))
    pad = 0.15 * ((high - low) or 0.01)
    low, high = low - pad, high + pad
    points = [
        {
            "x": round(60 + 510 * index / (len(drawn) - 1), 1),
            "y": round(150 - 130 * (value - low) / (high - low), 1),
            "text": f"{value:+.2%}",
            "version": each.version,
            "live": each.live,
        }
        for index, (each, value) in enumerate(drawn)
    ]
    last, step = len(points) - 1, -(-len(points) // 12)  # so that the labels of many releases do not collide
    for index, point in enumerate(points):
        point["named"] = index == last or (index % step == 0 and index <= last - step)
    return {"points": points, "zero": round(150 - 130 * (0 - low) / (high - low), 1)}


def page_templates() -> Environment:
    """The templates of pages."""
    environment = Environment(
        loader=PackageLoader("errata.flows.releases.contents"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "not measured" if value is None else f"{value:.2%}"
    environment.filters["rate"] = lambda value: f"{value:.1%}" if math.isfinite(value) else "not measured"
    return environment
