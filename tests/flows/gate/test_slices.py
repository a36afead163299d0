"""Harm that is small in the whole split and large in a part of it."""

import numpy as np
import pytest
from scipy.stats import binomtest

from errata.flows.gate.measures import control_criteria
from errata.flows.gate.paired import compare_answers
from errata.flows.gate.slices import (
    Slice,
    class_pairs,
    cluster_slices,
    declared,
    find_clusters,
    slice_criterion,
    slice_outcomes,
)
from tests.flows.gate.gate_rows import PARAMS, one_hot


def test_class_pairs_are_a_class_and_the_roots_best_other_class() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    logits = np.array([[5, 4, 1], [1, 4, 2], [5, 1, 4], [3, 9, 1], [3, 1, 2], [1, 2, 9]], float)
    answers = compare_answers(logits, logits)
    found = class_pairs(labels, answers, ("cat", "dog", "cow"), 2)
    assert {each.name: each.members.tolist() for each in found} == {"cat near dog": [0, 1], "dog near cat": [3, 4]}
    assert sum(len(each.members) for each in class_pairs(labels, answers, ("cat", "dog", "cow"), 1)) == 6


def test_clusters_are_found_on_the_reference_split_and_small_ones_do_not_count() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [9, 0], [0, 9]])
    reference = np.concatenate([rng.normal(each, 1, (40, 2)) for each in centres])
    kinds = np.repeat([0, 1, 2], [100, 40, 3])
    features = centres[kinds] + rng.normal(0, 1, (143, 2))
    groups = find_clusters(reference, len(features), 20, seed=0)
    assert groups is not None
    found = cluster_slices(groups.nearest(features), 20)
    assert sorted(len(each.members) for each in found) == [40, 100]
    for each in found:
        assert len(set(kinds[each.members])) == 1
    assert find_clusters(reference, 39, 20, seed=0) is None  # too few images for two clusters
    assert cluster_slices(np.full(39, -1), 20) == []


@pytest.mark.parametrize("images", [2_000, 10_000])
def test_one_kind_of_image_wholly_destroyed_is_seen(images: int) -> None:
    """1% of the split, all of one kind: 1% of flips in the whole, which a limit of 3% lets through."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, images)
    after = labels.copy()
    destroyed = np.arange(images // 100)
    labels[destroyed] = 3
    after[destroyed] = 8
    mine, rest = np.arange(images // 40), np.arange(images // 40, images)  # the slice has some more of other kinds
    found = slice_outcomes(labels, labels, after, [Slice("mine", mine), Slice("rest", rest)])
    assert {each.name: (each.n, each.negative_flips) for each in found} == {
        "mine": (len(mine), len(destroyed)),
        "rest": (len(rest), 0),
    }
    row = slice_criterion(found, PARAMS)
    assert (row.n, row.verdict) == (len(mine), "fail")
    assert row.value == pytest.approx(0.4)
    assert row.bound == pytest.approx(
        binomtest(len(destroyed), len(mine), alternative="less").proportion_ci(0.975, "exact").high
    )
    whole = {
        each.name: each.verdict
        for each in control_criteria(labels, compare_answers(one_hot(labels), one_hot(after)), 10, PARAMS, edited=True)
    }
    assert whole["negative_flips"] == whole["drawdown"] == "pass"  # what was seen before


def test_without_a_slice_of_enough_images_nothing_looks_measured() -> None:
    row = slice_criterion((), PARAMS)
    assert (row.verdict, row.n) == ("not applicable", 0)


def test_declared_columns_make_slices_of_each_value_with_enough_images() -> None:
    camera = np.array(["north", "south"])[np.arange(300) % 2]
    site = np.where(np.arange(300) < 270, "yard", "gate")
    found = declared({"camera": camera, "site": site}, 35)
    assert {each.name: len(each.members) for each in found} == {
        "camera north": 150,
        "camera south": 150,
        "site yard": 270,
    }
    after = labels = np.arange(300) % 10
    after = np.where((camera == "south") & (np.arange(300) % 4 == 1), (labels + 1) % 10, labels)  # half of that camera
    outcomes = {each.name: each.negative_flips for each in slice_outcomes(labels, labels, after, found)}
    assert outcomes["camera north"] == 0
    assert outcomes["camera south"] == 75
    row = slice_criterion(slice_outcomes(labels, labels, after, found), PARAMS)
    assert (row.value, row.verdict) == (0.5, "fail")
