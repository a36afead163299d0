"""One table of the gate, whatever it is rendered as; its head names the confidence that was used."""

import math

import pytest

from errata.flows.gate.criterion import Criterion, GateResult, Name, not_applicable
from errata.flows.gate.tables import GateTable
from tests.flows.gate.gate_rows import PARAMS


@pytest.mark.parametrize(
    ("confidence", "name"), [(0.95, "bound (95%)"), (0.975, "bound (97.5%)"), (0.999, "bound (99.9%)"), (None, "bound")]
)
def test_the_head_names_the_confidence(confidence: float | None, name: str) -> None:
    assert GateTable.of(GateResult("edit", (), confidence=confidence)).head[2] == name


def test_rows_in_words_and_as_markdown() -> None:
    rows = (
        Criterion("negative_flips", 0.0125, 0.0199, 0.02, "at most", 400),
        Criterion("parity", 1.24e-6, 1.24e-6, 1e-3, "at most", 400),
        Criterion("accuracy", math.nan, math.inf, 0.85, "at least", 0),
        not_applicable(Name.TRIGGER, "a|b", PARAMS),
    )
    table = GateTable.of(GateResult("edit", rows, confidence=0.9))
    assert table.markdown.splitlines() == [
        "| criterion | value | bound (90%) | limit | n | verdict |",
        "|---|---|---|---|---|---|",
        "| negative flips | 1.25% | 1.99% | at most 2.00% | 400 | pass |",
        "| parity | 1.2e-06 | 1.2e-06 | at most 1.0e-03 | 400 | pass |",
        "| accuracy | not measured | not measured | at least 85.00% | 0 | inconclusive |",
        "| trigger | - | - | at most 30.00% | 0 | not applicable: a\\|b |",
    ]
