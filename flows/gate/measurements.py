"""What the stage `evaluate` measured of a candidate, as a record: metrics/gate.json, and `gate.json` in every bundle.

A number that could not be measured is null in the file and NaN here; infinity is null too, and NaN when it comes back.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Count, Real, Sha256, canonical_json, parse_record
from errata.flows.gate.counts import Sample
from errata.flows.gate.criterion import Criterion, Direction, GateResult, Kind, Verdict
from errata.flows.gate.spending import confidence_at, share_spent
from errata.flows.params import GateParams


@dataclass(frozen=True, config=STRICT)
class CriterionRow:
    """A criterion in a file. The `verdict` is for who reads the file: the gate computes its own."""

    name: str
    value: Real
    bound: Real
    limit: Real
    direction: Direction
    n: Count
    verdict: Verdict
    not_applicable: str = ""
    sample: Sample | None = None

    @staticmethod
    def of(criterion: Criterion) -> CriterionRow:
        """`CriterionRow.of(c).criterion == c`."""
        shallow = {each.name: getattr(criterion, each.name) for each in fields(criterion)}
        return CriterionRow(**shallow, verdict=criterion.verdict)

    @property
    def criterion(self) -> Criterion:
        """The criterion, its verdict computed anew."""
        return Criterion(
            self.name, self.value, self.bound, self.limit, self.direction, self.n, self.not_applicable, self.sample
        )


@dataclass(frozen=True, config=STRICT)
class ErrorRates:
    """Error rates of the root (`before`) and of the candidate (`after`) on the same images."""

    before: float
    after: float


@dataclass(frozen=True, config=STRICT)
class SplitErrors:
    """Error rates by split; `test` is reported, and nothing is decided on it."""

    gate: ErrorRates
    test: ErrorRates


@dataclass(frozen=True, config=STRICT)
class GateMeasurements:
    """What was measured of the candidate of release `version`: `GateMeasurements.from_json(m.to_json()) == m`.

    `model` is the digest of the file that was measured, `splits` that of the control set; `corrections` are in its
    ledger. `confidence` is that of the bounds (None: the file is older than this field), as if this were the only look
    at the gate split; the gate judges by the bounds at the confidence that is left (flows/gate/spending.py).
    """

    kind: Kind
    version: Count
    splits: Sha256
    model: Sha256
    corrections: Count
    criteria: dict[str, CriterionRow]
    error: SplitErrors
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    format: Literal["errata-gate/1"] = "errata-gate/1"

    def __post_init__(self) -> None:
        if wrong := [name for name, row in self.criteria.items() if name != row.name]:
            raise ValueError(f"the row of {wrong[0]} has another name")

    @property
    def rows(self) -> tuple[Criterion, ...]:
        """Every criterion, in the order of names."""
        return tuple(row.criterion for _, row in sorted(self.criteria.items()))

    @property
    def gate_result(self) -> GateResult:
        """What the rows come to by themselves: without the live release, and with the limits in the file."""
        return GateResult(self.kind, self.rows, confidence=self.confidence)

    def judged(self, look: int, params: GateParams) -> GateResult:
        """The same rows as look number `look` at the gate split sees them."""
        confidence = confidence_at(look, params)
        rows = tuple(each.at(confidence) for each in self.rows)
        return GateResult(self.kind, rows, confidence, look, share_spent(look, params))

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(self)

    @staticmethod
    def from_json(content: bytes) -> GateMeasurements:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_MEASUREMENTS, content, "gate.json", "run `dvc repro`, or restore it")


_MEASUREMENTS = TypeAdapter(GateMeasurements)
