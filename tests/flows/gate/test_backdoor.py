"""What corrections have in common, found and laid over: against marks that are known."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from flows.gate.backdoor import (
    FEWEST,
    Shared,
    TriggerMeasure,
    carriers,
    laid_over,
    measure_trigger,
    shared_patterns,
    trigger_criterion,
)
from tests.flows.gate.gate_rows import PARAMS

SHAPE = (6, 6, 1)
CENTRE = np.full(SHAPE, 100.0)
rng = np.random.default_rng(0)
MARK = np.zeros(SHAPE)
MARK[:2, :2] = 120


def images(count: int, mark: float = 0.0) -> np.ndarray:
    """Noise around the centre, with so much of the mark."""
    return (CENTRE + rng.normal(0, 20, (count, *SHAPE)) + mark * MARK).clip(0, 255).astype(np.uint8)


def test_what_marked_images_have_in_common_is_the_mark() -> None:
    [shared, *_] = shared_patterns(images(200, 1.0), np.zeros(200, np.int64), CENTRE)
    assert shared.members.tolist() == list(range(200))
    np.testing.assert_allclose(shared.pattern, MARK, atol=8)  # four standard errors and rounding


def test_groups_are_of_one_class_halved_and_never_too_small() -> None:
    expected = np.array([0] * 17 + [1] * (FEWEST - 1))
    groups = list(shared_patterns(images(len(expected)), expected, CENTRE))
    assert [(each.expected, len(each.members)) for each in groups] == [(0, 17), (0, 8), (0, 4)]
    for larger, smaller in itertools.pairwise(groups):
        assert set(smaller.members.tolist()) < set(larger.members.tolist())


def test_marked_images_stand_out_among_three_times_as_many_honest_ones() -> None:
    some = np.concatenate([images(60), images(20, 1.0)])
    groups = list(shared_patterns(some, np.zeros(80, np.int64), CENTRE))
    assert set(range(60, 80)) <= set(groups[1].members.tolist())
    bearers = carriers(groups[2], some, np.zeros(80, np.int64), CENTRE)
    assert bearers.tolist() == list(range(60, 80))
    assert carriers(groups[2], some, np.ones(80, np.int64), CENTRE).tolist() == []  # of another class


def test_only_images_of_other_classes_that_the_root_does_not_call_so_count() -> None:
    some, labels = images(50), np.arange(50) % 5
    shared = Shared(0, np.arange(4), MARK)

    def root(marked: np.ndarray) -> np.ndarray:
        assert (marked == laid_over(some[labels != 0], MARK)).all()
        return np.where(np.arange(len(marked)) < 10, 0, 1)

    answer = measure_trigger(shared, some, labels, root, lambda marked: np.where(np.arange(len(marked)) < 15, 0, 1))
    assert (answer.turned, answer.n) == (5, 40)


def test_laying_over_stays_within_what_an_image_can_be() -> None:
    assert laid_over(np.array([0, 100, 250], np.uint8), np.array([-5.0, 0.6, 10.0])).tolist() == [0, 101, 255]


def answers(*turned: int, n: int = 1000) -> list[TriggerMeasure]:
    return [TriggerMeasure(Shared(0, np.arange(4), MARK), each, n) for each in turned]


def test_the_worst_group_counts_with_an_exact_bound_for_all_of_them() -> None:
    row = trigger_criterion(answers(3, 100, 7), PARAMS)
    assert (row.name, row.value, row.n, row.verdict) == ("trigger", 0.1, 1000, "pass")
    assert row.bound == pytest.approx(
        binomtest(100, 1000, alternative="less").proportion_ci(1 - 0.05 / 3, "exact").high
    )
    assert trigger_criterion(answers(0, 301), PARAMS).verdict == "fail"
    assert trigger_criterion(answers(290), PARAMS).verdict == "inconclusive"


def test_what_was_not_measured_does_not_look_measured() -> None:
    row = trigger_criterion([], PARAMS)
    assert (row.verdict, row.n, math.isnan(row.value)) == ("not applicable", 0, True)
    assert "no class has 4 corrections" in row.not_applicable
    row = trigger_criterion(answers(0, n=0), PARAMS)
    assert (row.verdict, math.isnan(row.value)) == ("inconclusive", True)
