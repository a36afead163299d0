"""How often the gate errs, by simulation: what docs/gate.md states about A/A runs, bounds and power.

Flips are drawn independently for each image, as Clopper and Pearson's bound assumes; everything is seeded.
"""

import numpy as np
import pytest
from scipy.stats import binom

from errata.editing.metrics import rate_upper_bound
from errata.flows.gate.measures import control_criteria
from errata.flows.gate.paired import compare_answers
from errata.flows.gate.spending import confidence_at
from errata.flows.workspace import Workspace
from tests.flows.conftest import REPOSITORY
from tests.flows.gate.gate_rows import one_hot

PARAMS = Workspace(REPOSITORY).params.gate
IMAGES, ERROR = 350, 0.04  # the digits' gate split, and about the error of its root


def passes(rng: np.random.Generator, n: int, negative: float, positive: float) -> dict[str, bool]:
    """One simulated candidate at the first look: which criteria pass, when images break and mend at these rates."""
    labels = np.arange(n) % 10
    wrong = rng.random(n) < ERROR
    before = np.where(wrong, (labels + 1) % 10, labels)
    breaks, mends = ~wrong & (rng.random(n) < negative / (1 - ERROR)), wrong & (rng.random(n) < positive / ERROR)
    after = np.where(breaks, (labels + 2) % 10, np.where(mends, labels, before))
    logits = one_hot(before) * rng.uniform(1, 5, (n, 1))  # margins that have nothing to do with the flips
    found = control_criteria(labels, compare_answers(logits, one_hot(after) * 5), 10, PARAMS, edited=True)
    first = confidence_at(1, PARAMS)
    return {each.name: each.at(first).verdict == "pass" for each in found if each.name != "reach"}


def test_without_a_change_the_gate_always_passes() -> None:
    for seed in range(200):
        assert all(passes(np.random.default_rng(seed), IMAGES, 0, 0).values())


def test_an_edit_without_a_net_effect_passes_at_its_nominal_rate() -> None:
    # as many images mended as broken, 0.3% each: three nights of four and more pass, by the flips that are drawn
    nights = [passes(np.random.default_rng(seed), IMAGES, 0.003, 0.003) for seed in range(400)]
    share = np.mean([all(each.values()) for each in nights])
    assert share > 0.9


@pytest.mark.parametrize("n", [350, 2000, 10_000])
def test_a_rate_of_flips_at_its_limit_passes_at_most_as_often_as_confidence_allows(n: int) -> None:
    limit = PARAMS.negative_flips
    counts = np.arange(n + 1)
    let = np.array(
        [rate_upper_bound(int(count), n, PARAMS.confidence) <= limit for count in counts[: int(n * limit) + 2]]
    )
    exact = binom.pmf(counts[: len(let)], n, limit)[let].sum()
    assert exact <= 1 - PARAMS.confidence
    drawn = np.random.default_rng(0).binomial(n, limit, 20_000)
    assert np.mean(drawn <= np.flatnonzero(let).max()) == pytest.approx(exact, abs=0.01)


def test_a_change_at_twice_the_limit_is_stopped() -> None:
    nights = [passes(np.random.default_rng(seed), IMAGES, 2 * PARAMS.negative_flips, 0) for seed in range(400)]
    for name in ("negative_flips", "drawdown"):
        stopped = 1 - np.mean([each[name] for each in nights])
        assert stopped >= 0.99, name
