"""The gate's limits are those of params.yaml, whatever a file says."""

import json
from dataclasses import replace

import pytest

from errata.data.releases.looks import Looks
from errata.editing.errors import Damaged
from errata.flows.gate.criterion import Direction, Name
from errata.flows.gate.judge import against_params, judge_candidate
from tests.flows.conftest import Place
from tests.flows.gate.gate_rows import PARAMS, passing_rows


def test_a_limit_that_was_loosened_or_turned_round_is_nothing() -> None:
    for row in passing_rows():
        other: Direction = "at least" if row.direction == "at most" else "at most"
        forged = replace(row, limit=0.5, direction=other)
        assert against_params(forged, PARAMS) == row


def test_a_criterion_that_there_is_not_is_refused() -> None:
    with pytest.raises(Damaged, match="'charm', which there is not"):
        against_params(replace(passing_rows()[0], name="charm"), PARAMS)


def test_a_gate_file_in_which_limits_were_loosened_does_not_pass(place: Place) -> None:
    path = place.workspace.gate
    measured = json.loads(path.read_text())
    assert judge_candidate(place.workspace, None, Looks(place.storage)).verdict == "pass"
    measured["criteria"][Name.ACCURACY] |= {"value": 0.1, "bound": 0.05, "limit": 0.01}
    path.write_text(json.dumps(measured))
    found = judge_candidate(place.workspace, None, Looks(place.storage))
    assert found.verdict == "fail"
    assert found.sentence == "the candidate fails accuracy"


@pytest.mark.parametrize("damage", [{"value": None}, {"bound": None}, {"n": 0}], ids=str)
def test_a_gate_file_with_a_hole_does_not_pass(place: Place, damage: dict[str, object]) -> None:
    path = place.workspace.gate
    measured = json.loads(path.read_text())
    measured["criteria"][Name.PARITY] |= damage
    path.write_text(json.dumps(measured))
    assert judge_candidate(place.workspace, None, Looks(place.storage)).verdict == "inconclusive"
    del measured["criteria"][Name.PARITY]
    path.write_text(json.dumps(measured))
    assert judge_candidate(place.workspace, None, Looks(place.storage)).sentence == "parity was not computed"
