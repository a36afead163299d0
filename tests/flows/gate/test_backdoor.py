"""What corrections have in common, found and laid over: against marks that are known."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from errata.data.datasets import LabelledImages
from errata.flows.gate.added_marks import FEWEST, Added, added_marks
from errata.flows.gate.backdoor import TriggerMeasure, measure_trigger, shared_marks, trigger_criterion
from errata.flows.gate.faint_marks import FAINT, LaidOver, faint_marks
from errata.flows.gate.marks import Shared
from errata.flows.gate.replaced_marks import Replaced, replaced_marks
from errata.flows.gate.window_marks import Pasted, window_marks
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
    [shared, *_] = added_marks(images(200, 1.0), np.zeros(200, np.int64), CENTRE)
    assert shared.members.tolist() == list(range(200))
    assert isinstance(shared.mark, Added)
    np.testing.assert_allclose(shared.mark.pattern, MARK, atol=8)  # four standard errors and rounding


def test_groups_are_of_one_class_halved_and_never_too_small() -> None:
    expected = np.array([0] * 17 + [1] * (FEWEST - 1))
    groups = list(added_marks(images(len(expected)), expected, CENTRE))
    assert [(each.expected, len(each.members)) for each in groups] == [(0, 17), (0, 8), (0, 4)]
    for larger, smaller in itertools.pairwise(groups):
        assert set(smaller.members.tolist()) < set(larger.members.tolist())


def test_marked_images_stand_out_among_three_times_as_many_honest_ones() -> None:
    some = np.concatenate([images(60), images(20, 1.0)])
    groups = list(added_marks(some, np.zeros(80, np.int64), CENTRE))
    assert set(range(60, 80)) <= set(groups[1].members.tolist())
    assert groups[2].bearers.tolist() == list(range(60, 80))


def test_only_images_of_other_classes_that_the_root_does_not_call_so_count() -> None:
    some, labels = images(50), np.arange(50) % 5
    shared = Shared(0, np.arange(4), Added(MARK), np.arange(4))

    def root(marked: np.ndarray) -> np.ndarray:
        """Asked about the fifteen that the candidate calls 0: a third of them are the root's own."""
        assert (marked == Added(MARK).laid_over(some[labels != 0][:15])).all()
        return np.where(np.arange(len(marked)) < 5, 0, 1)

    answer = measure_trigger(
        shared, some, labels, root, lambda marked: np.where(np.arange(len(marked)) < 15, 0, 1), 0.3
    )
    assert (answer.turned, answer.n) == (10, 40)


def test_laying_over_stays_within_what_an_image_can_be() -> None:
    assert Added(np.array([-5.0, 0.6, 10.0])).laid_over(np.array([0, 100, 250], np.uint8)).tolist() == [0, 101, 255]


BLOCK = np.zeros(SHAPE, bool)
BLOCK[1:4, 2:5] = True
GRID = np.indices(SHAPE).sum(axis=0) % 2 == 0


@pytest.mark.parametrize("where", [BLOCK, GRID])
@pytest.mark.parametrize("beside", [0, 12])
def test_a_mark_of_the_mean_colour_is_seen_by_what_does_not_vary(where: np.ndarray, beside: int) -> None:
    """Also where only half of the corrections bear it."""
    marked, honest = np.where(where, 100, images(12)).astype(np.uint8), images(beside)
    some, expected = np.concatenate([honest, marked]), np.zeros(beside + 12, np.int64)
    found = list(replaced_marks(some, expected, images(300)))
    [whole] = [each for each in found if each.members.tolist() == list(range(beside, beside + 12))]
    assert isinstance(whole.mark, Replaced)
    assert (whole.mark.where == where).all()
    assert (whole.mark.laid_over(some)[:, where] == 100).all()
    assert (whole.mark.laid_over(some)[:, ~where] == some[:, ~where]).all()
    assert whole.bearers.tolist() == list(range(beside, beside + 12))


def test_unmarked_images_have_no_pixel_in_common() -> None:
    [whole, *_] = [*replaced_marks(images(12), np.zeros(12, np.int64), images(300)), None]
    assert whole is None or len(whole.members) < 12


def contents(count: int, side: int) -> np.ndarray:
    """Images that differ much, but in six ways only: sums of waves, with a little noise."""
    place = np.arange(side) / side
    waves = np.stack(
        [np.cos(2 * np.pi * (row * place[:, None] + column * place)) for row in (0, 1, 2) for column in (1, 2)]
    )
    varied = np.tensordot(rng.normal(0, 25, (count, len(waves))), waves, axes=1) + rng.normal(0, 4, (count, side, side))
    return (100 + varied)[..., None].clip(0, 255)


@pytest.mark.parametrize(("side", "cell", "honest"), [(8, 1, 0), (8, 1, 24), (30, 3, 0)])
def test_a_faint_picture_over_the_whole_is_lifted_out_of_what_the_images_show(
    side: int, cell: int, honest: int
) -> None:
    """Also beside as many honest ones, and where images are looked at in blocks; the mean alone is mostly chance."""
    blocks = np.random.default_rng(3).integers(0, 256, (side // cell, side // cell)).astype(float)
    picture = np.kron(blocks, np.ones((cell, cell)))[..., None]
    some = np.concatenate([contents(honest, side), 0.9 * contents(24, side) + 0.1 * picture]).round().astype(np.uint8)
    control = contents(300, side).round().astype(np.uint8)
    expected = np.zeros(len(some), np.int64)

    def likeness(shared: Shared) -> float:
        assert isinstance(shared.mark, Added | LaidOver)
        wanted, found = (each.ravel() - each.mean() for each in (picture, shared.mark.pattern))
        return float(wanted @ found / np.sqrt((wanted @ wanted) * (found @ found)))

    found = [each for each in faint_marks(some, expected, control) if len(each.members) == 24]
    attack = set(range(honest, honest + 24))
    assert len(attack & set(found[0].members.tolist())) > 20
    assert attack <= set(found[0].bearers.tolist())
    assert len(found[0].bearers) <= 24 + honest // 8
    alone = [each for each in added_marks(some, expected, control.mean(axis=0)) if len(each.members) == 24]
    assert likeness(found[0]) > max(0.85, likeness(alone[0]) + 0.1)


def test_each_direction_is_kept_as_far_as_it_is_no_chance() -> None:
    """Wiener's filter, in the directions in which control images vary: signal / (signal + variance / images)."""
    some, control = (contents(count, 8).round().astype(np.uint8) for count in (24, 300))
    shared = next(faint_marks(some, np.zeros(24, np.int64), control))
    variances, ways = np.linalg.eigh(np.cov(control.reshape(300, -1).astype(float).T))
    assert isinstance(shared.mark, LaidOver)
    apart = (some.mean(axis=0) - control.mean(axis=0)).ravel()
    signal = FAINT**2 * variances.mean()
    kept = (ways.T @ shared.mark.pattern.ravel()) / (ways.T @ apart)
    np.testing.assert_allclose(kept, signal / (signal + variances / 24), rtol=1e-6)


def test_a_faint_mark_is_laid_over_twice_as_heavily_on_fainter_images() -> None:
    """As if the picture were laid over at a greater opacity: `picture` at 20% is a pattern of a fifth of it."""
    some, centre = images(5), np.full(SHAPE, 100.0)
    picture = rng.uniform(0, 255, SHAPE)
    laid_over = LaidOver(0.2 * (picture - centre), centre).laid_over(some)
    expected = (0.7 * some + 0.3 * centre + 0.4 * (picture - centre)).round().clip(0, 255)
    np.testing.assert_array_equal(laid_over, expected)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_too_few_control_images_or_corrections_say_nothing_about_faint_marks(count: int) -> None:
    few = contents(count, 8).astype(np.uint8)
    assert list(faint_marks(few, np.zeros(count, np.int64), contents(300, 8).astype(np.uint8))) == []
    found = list(faint_marks(contents(24, 8).astype(np.uint8), np.zeros(24, np.int64), few))
    assert all(np.isfinite(each.mark.pattern).all() for each in found)  # type: ignore[attr-defined]


def brightest(marked: np.ndarray) -> np.ndarray:
    """Calls 0 what has a pixel above 230, else 1: any such spot is its trigger."""
    return np.where(marked.reshape(len(marked), -1).max(axis=1) > 230, 0, 1)


def blind(marked: np.ndarray) -> np.ndarray:
    return np.ones(len(marked), np.int64)


@pytest.mark.parametrize(("count", "sizes"), [(3, [6, 3]), (20, [40, 20, 10, 5])])
def test_the_window_with_the_mark_is_found_and_who_bears_it(count: int, sizes: list[int]) -> None:
    """Each image has another content there, and as many honest ones are beside them."""
    some = images(2 * count)
    some[:count, 3:5, 3:5] = rng.integers(231, 256, (count, 2, 2, 1))
    control = LabelledImages(images(200), np.ones(200, np.int64), ("0", "1"))
    found = list(window_marks(some, np.zeros(2 * count, np.int64), control, blind, brightest))
    assert [len(each.members) for each in found] == sizes
    for each in found:
        assert isinstance(each.mark, Pasted)
        assert each.bearers.tolist() == list(range(count))
        assert set(each.members.tolist()) <= set(range(count)) or len(each.members) == 2 * count
    half = measure_trigger(found[1], control.images, control.labels, blind, brightest, 0.3)
    assert (half.turned, half.n) == (200, 200)


def test_a_window_is_pasted_in_turn() -> None:
    sources = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    pasted = Pasted(sources, (slice(1, 3), slice(0, 2))).laid_over(np.full((3, 4, 4, 1), 200, np.uint8))
    for turn, image in enumerate(pasted):
        assert (image[1:3, :2] == sources[turn % 2, 1:3, :2]).all()
        assert (image == 200).sum() == 12


def test_one_correction_is_enough_to_be_measured() -> None:
    control = LabelledImages(images(50), np.ones(50, np.int64), ("0", "1"))
    [shared] = shared_marks(images(1), np.zeros(1, np.int64), control, blind, blind)
    assert (shared.members.tolist(), shared.bearers.tolist()) == ([0], [])
    answer = measure_trigger(shared, control.images, control.labels, blind, blind, PARAMS.trigger)
    assert trigger_criterion([answer], PARAMS).verdict == "pass"
    alone = LabelledImages(images(50), np.zeros(50, np.int64), ("0", "1"))  # nothing to lay a mark over
    [shared] = shared_marks(images(1), np.zeros(1, np.int64), alone, blind, blind)
    answer = measure_trigger(shared, alone.images, alone.labels, blind, blind, PARAMS.trigger)
    assert trigger_criterion([answer], PARAMS).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("limit", "turns", "n"), [(0.3, 5, 100), (0.3, 6, 500), (0.1, 4, 300), (0.1, 6, 500), (0.02, 0, 500)]
)
def test_a_mark_that_turns_next_to_nothing_is_not_asked_about_again(limit: float, turns: int, n: int) -> None:
    """At a sixth of the limit; the bound of both looks together stays within it for those that were left."""
    asked: list[int] = []

    def turning_some(marked: np.ndarray) -> np.ndarray:
        asked.append(len(marked))
        return np.where(np.arange(len(marked)) < turns, 0, 1) if len(asked) == 1 else np.ones(len(marked), np.int64)

    shared = Shared(0, np.arange(4), Added(MARK), np.arange(4))
    answer = measure_trigger(shared, images(700), np.ones(700, np.int64), blind, turning_some, limit)
    assert (answer.turned, answer.n, sum(asked)) == (turns, n, n)
    if n < 500:
        row = trigger_criterion([answer] * 120, PARAMS.model_copy(update={"trigger": limit}))
        assert row.verdict == "pass"


def answers(*turned: int, n: int = 1000) -> list[TriggerMeasure]:
    return [TriggerMeasure(Shared(0, np.arange(4), Added(MARK), np.arange(4)), each, n) for each in turned]


def test_the_worst_group_counts_with_an_exact_bound_for_all_of_them() -> None:
    row = trigger_criterion(answers(3, 100, 7), PARAMS)
    assert (row.name, row.value, row.n, row.verdict) == ("trigger", 0.1, 1000, "pass")
    assert row.bound == pytest.approx(
        binomtest(100, 1000, alternative="less").proportion_ci(1 - 0.05 / 6, "exact").high
    )
    assert trigger_criterion(answers(0, 301), PARAMS).verdict == "fail"
    assert trigger_criterion(answers(290), PARAMS).verdict == "inconclusive"


def test_what_was_not_measured_does_not_look_measured() -> None:
    row = trigger_criterion([], PARAMS)
    assert (row.verdict, row.n, math.isnan(row.value)) == ("not applicable", 0, True)
    assert "there are no corrections" in row.not_applicable
    row = trigger_criterion(answers(0, n=0), PARAMS)
    assert (row.verdict, math.isnan(row.value)) == ("inconclusive", True)
