"""How many flips pass at which look: against the binomial law itself."""

import numpy as np
import pytest
from scipy.stats import binom

from errata.flows.gate.criterion import Name
from errata.flows.gate.measures import control_criteria
from errata.flows.gate.spending import confidence_at
from errata.flows.gate.tolerance import tolerances, tolerances_sentence
from errata.flows.params import GateParams
from tests.flows.gate.gate_rows import answered, paired

PARAMS = GateParams(negative_flips=0.03, drawdown=0.03)


def test_flips_that_pass_are_those_that_are_unlikely_enough_at_the_limit() -> None:
    found = {each.name: each for each in tolerances(np.arange(2000) % 10, 10, PARAMS, (1, 35, 150))}
    row = found[Name.NEGATIVE_FLIPS]
    expected = []
    for look in (1, 35, 150):
        unlikely = binom.cdf(np.arange(100), 2000, 0.03) <= 1 - confidence_at(look, PARAMS)
        expected.append(int(np.flatnonzero(unlikely).max()))
    assert (row.n, row.looks, row.flips) == (2000, (1, 35, 150), tuple(expected))
    assert found[Name.RECALL_DROP].n == 200


@pytest.mark.parametrize("name", [Name.NEGATIVE_FLIPS, Name.DRAWDOWN])
def test_so_many_pass_the_gate_and_one_more_does_not(name: Name) -> None:
    found = {each.name: each for each in tolerances(np.arange(350) % 10, 10, PARAMS, (1, 10))}
    for look, most in zip(found[name].looks, found[name].flips, strict=True):
        assert most is not None
        for flips, passes in ((most, True), (most + 1, False)):
            rows = control_criteria(*answered(*paired(350, flips, 0, 5)), 10, PARAMS, edited=True)
            (row,) = (each for each in rows if each.name == name)
            assert (row.at(confidence_at(look, PARAMS)).verdict == "pass") is passes


def test_the_last_look_is_the_last_at_which_anything_passes() -> None:
    labels = np.arange(350) % 10
    (row,) = (each for each in tolerances(labels, 10, PARAMS) if each.name == Name.NEGATIVE_FLIPS)
    late = {each.name: each for each in tolerances(labels, 10, PARAMS, (row.last, row.last + 1))}
    assert late[Name.NEGATIVE_FLIPS].flips == (0, None)
    assert late[Name.NEGATIVE_FLIPS].cells[-3:] == ("0", "-", str(row.last))
    (never,) = (each for each in tolerances(labels[:50], 10, PARAMS) if each.name == Name.NEGATIVE_FLIPS)
    assert (never.last, never.cells[-1]) == (0, "none")


def test_a_log_is_told_of_the_next_look_in_one_line() -> None:
    few = GateParams(negative_flips=0.03, drawdown=0.001)
    rows = [each for each in tolerances(np.arange(350) % 10, 10, few, (7, 35)) if each.name != Name.RECALL_DROP][:2]
    unlikely = binom.cdf(np.arange(100), 350, 0.03) <= 1 - confidence_at(7, few)
    most = int(np.flatnonzero(unlikely).max())
    said = f"flips that the gate's limits let pass at look 7: negative flips {most} of 350, drawdown nothing of 350"
    assert tolerances_sentence(rows) == said
