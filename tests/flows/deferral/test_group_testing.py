"""Halving finds exactly those that do harm, in few tests."""

import math
import random
from collections.abc import Sequence

from errata.flows.deferral.group_testing import keep_harmless


def test_one_test_clears_everybody() -> None:
    assert keep_harmless(range(100), lambda _group: True, 64) == (tuple(range(100)), 1)
    assert keep_harmless((), lambda _group: False, 64) == ((), 0)


def test_exactly_the_harmful_are_left_out_within_the_known_bound() -> None:
    for seed in range(50):
        bad = set(random.Random(seed).sample(range(128), 4))
        kept, tests = keep_harmless(range(128), bad.isdisjoint, 1000)
        assert set(kept) == set(range(128)) - bad
        # each culprit: two tests for each halving on its way, and the first test of all
        assert tests <= 1 + 2 * len(bad) * math.log2(128)


def test_harm_that_two_do_only_together_costs_one_of_them() -> None:
    kept, _ = keep_harmless(range(10), lambda group: not {2, 7} <= set(group), 100)
    assert len(kept) == 9
    assert len({2, 7} & set(kept)) == 1


def test_the_bound_on_tests_is_kept_and_what_was_not_cleared_is_left_out() -> None:
    calls = 0

    def harmless(group: Sequence[int]) -> bool:
        nonlocal calls
        calls += 1
        return not {3, 60, 90} & set(group)

    kept, tests = keep_harmless(range(100), harmless, 5)
    assert (calls, tests) == (5, 5)
    assert not {3, 60, 90} & set(kept)
