"""The release report: one HTML file, rendered from a bundle's files.

It is part of the bundle, so it is a pure function of what the release is a function of: no time, no machine, no
history, no person. It refers to the corrections' pictures where the store keeps them and holds none itself, so that a
picture that is erased there is gone. `errata page` renders the same page on demand, with the pictures in it and with
what only the store and the workspace know: reports, the releases before it, the test images that it turned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from errata.data import layout
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import ClassOutcome, Evaluation
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import sha256
from errata.editing.errors import DataError
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.gate.tables import bound_name
from errata.flows.releases.contents.cards import (
    FILTERS,
    Known,
    beside_groups,
    cards_of,
    eagerness,
    flip_group,
    kind_rows,
    slot_rows,
)
from errata.flows.releases.contents.criteria import bars, decision
from errata.flows.releases.contents.history import history_chart
from errata.flows.releases.contents.page_source import page_templates, policy, source
from errata.flows.releases.contents.pictures import COLUMNS, SHARP


def picture_links(ledger: Ledger) -> dict[str, str]:
    """Where each correction's picture lies in the store, as seen from a bundle's folder."""
    return {each.id: f"../../{layout.correction_image(each.id)}" for each in ledger.corrections}


def render_report(
    files: Mapping[str, bytes],
    pictures: Mapping[str, str],
    lineage: Sequence[tuple[str, str]],
    known: Known | None = None,
    *,
    longest_side: int,
) -> bytes:
    """The page, from a bundle's `files` by name and the URLs of the corrections' `pictures`.

    An erased picture has no URL. `lineage` is (what, digest) from the inputs to the file; `longest_side` is that of a
    picture in pixels. The same arguments give the same bytes. Raises DataError if a file is missing or unreadable.
    """
    known = known or Known()
    try:
        measured = GateMeasurements.from_json(files["gate.json"])
        edited = EditRecord.from_json(files["edit.json"])
        evaluation = Evaluation.from_json(files["evaluation.json"])
        ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
        cards = cards_of(evaluation, edited, ledger, pictures, known)
    except KeyError as fault:
        raise DataError(f"the report needs {fault}, which is missing; run `dvc repro`") from fault
    gate_result = known.judged or measured.gate_result
    slots = slot_rows(edited, evaluation, ledger)
    style, script = source("report.css"), source("report.js")
    drawn = bars(gate_result.criteria)
    missing = [name.replace("_", " ") for name in gate_result.missing]
    beside = [flip_group(each, edited) for each in beside_groups(evaluation, known)]
    counted = Counter(name for card in cards for name in card.classes.split())
    return (
        page_templates()
        .get_template("report.html.j2")
        .render(
            policy=policy(style, script),
            style=style,
            script=script,
            version=ledger.version,
            kind=gate_result.kind,
            verdict=gate_result.verdict,
            decision=decision(gate_result),
            bars=drawn,
            missing=missing,
            passed=sum(each.row.verdict == "pass" for each in drawn),
            short=[each.row.name for each in drawn if each.row.verdict in ("fail", "inconclusive")] + missing,
            error=measured.error,
            bound=bound_name(gate_result.confidence),
            looks=gate_result.looks_sentence,
            cards=cards,
            filters=[(name, words, counted[name]) for name, words in FILTERS.items() if counted[name]],
            restored=counted["restored"],
            columns=COLUMNS,
            sharp=longest_side <= SHARP,
            holding=counted["held"],
            reports=sum(card.count for card in cards),
            beside=beside,
            broke=sum(each.broke for each in beside),
            moved=sorted((each for each in evaluation.classes if _flips(each)), key=lambda each: -each.negative_flips),
            still=[each for each in evaluation.classes if not _flips(each)],
            most_flips=_most_flips(evaluation.classes),
            slots=slots,
            unheld=len(edited.deferred),
            firing=sorted((slot for slot in slots if slot.calibration or slot.decided), key=eagerness)[:20],
            images_judged=sum(each.n for each in evaluation.classes),
            kinds=kind_rows(edited, evaluation, pictures),
            lineage=list(lineage),
            history=list(known.history),
            chart=history_chart(known.history),
        )
        .encode()
    )


def bundle_lineage(version: int, files: Mapping[str, bytes], digests: Mapping[str, str]) -> list[tuple[str, str]]:
    """(what, SHA-256) from the inputs, `digests` by name, to the files that ship."""
    return [
        *digests.items(),
        *((name, sha256(files[name])) for name in ("edit.json", layout.model_file(version), "gate.json")),
    ]


def _flips(outcome: ClassOutcome) -> int:
    return outcome.negative_flips + outcome.positive_flips


def _most_flips(classes: Sequence[ClassOutcome]) -> int:
    """The length of a whole bar, in images: at least five, so that one flip alone does not look like many."""
    return max([5, *(max(each.negative_flips, each.positive_flips) for each in classes)])
