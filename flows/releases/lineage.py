"""Where a release comes from: its corrections and the reports behind each, its kinds, the gate's rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from errata.data import layout
from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord, KindRecord
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.looks import Looks
from errata.data.releases.manifest import Manifest, read_file
from errata.data.reports import MAX_REPORT_BYTES, Report, parse_report
from errata.data.splits import RECORD, parse_splits
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, TooLarge
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.measurements import CriterionRow, GateMeasurements
from errata.flows.params import parse_params
from errata.flows.releases.pointer import released_digest, require_live, verified


@dataclass(frozen=True)
class Traced:
    """A correction, whether the release holds it, and the reports behind it that the store still has.

    `deferred` says why no slot can hold it; empty for all others.
    """

    correction: Correction
    holds: bool | None
    reports: tuple[Report, ...]
    deferred: str = ""


@dataclass(frozen=True)
class Lineage:
    """All that is known of a release."""

    manifest: Manifest
    corrections: tuple[Traced, ...]
    gate: GateResult
    kinds: tuple[KindRecord, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "manifest": {**asdict(self.manifest), "digest": self.manifest.digest},
            "corrections": [
                {
                    **asdict(each.correction),
                    "holds": each.holds,
                    "deferred": each.deferred,
                    "reports": [report.model_dump(mode="json") for report in each.reports],
                }
                for each in self.corrections
            ],
            "kinds": [asdict(each) for each in self.kinds],
            "criteria": [asdict(CriterionRow.of(each)) for each in self.gate.criteria],
        }


def trace(storage: Storage, version: int | None = None) -> Lineage:
    """What a release (by default the live one) was made of; raises Damaged unless every file of it verifies
    that was not removed on purpose."""
    which = require_live(storage)[0].version if version is None else version
    manifest = verified(storage, which, released_digest(storage, which), spent=True)
    ledger = Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode())
    record = EditRecord.from_json(read_file(storage, manifest, "edit.json"))
    measured = GateMeasurements.from_json(read_file(storage, manifest, "gate.json"))
    reports = settled_reports(storage, {report for each in ledger.corrections for report in each.reports})
    return Lineage(
        manifest=manifest,
        corrections=tuple(
            Traced(
                each,
                record.holds.get(each.id),
                tuple(reports[name] for name in each.reports if name in reports),
                WHY_DEFERRED[record.deferred[each.id]] if each.id in record.deferred else "",
            )
            for each in ledger.corrections
        ),
        gate=judged(storage, manifest, measured),
        kinds=record.kinds,
    )


def judged(storage: Storage, manifest: Manifest, measured: GateMeasurements) -> GateResult:
    """The gate's rows as the look saw them at which the release was judged; as measured, if the store does not say."""
    if RECORD not in manifest.files:
        return measured.gate_result
    split = parse_splits(read_file(storage, manifest, RECORD), RECORD).splits["gate"].sha256
    look = Looks(storage).number_of(split, measured.model)
    if look is None:
        return measured.gate_result
    return measured.judged(look, parse_params(read_file(storage, manifest, "params.yaml")).gate)


def settled_reports(storage: Storage, wanted: set[str]) -> dict[str, Report]:
    """Those of the reports that releases consumed and the store still has, by identity."""
    found = {}
    for key in storage.keys(layout.SETTLED) if wanted else ():
        if (name := layout.stem(key)) in wanted and name not in found:
            try:
                found[name] = parse_report(storage.get(key, at_most=MAX_REPORT_BYTES))
            except (DataError, TooLarge):  # the record stays as it is; the correction rests on its image and its class
                continue
    return found
