"""What people decided about which corrections belong together."""

import numpy as np
import torch

from errata.editing.kinds.grouping import Regrouping, regrouped

KEYS = list("abcdefgh")
PLACES = torch.tensor([[0.0], [1], [2], [3], [10], [11], [12], [13]])
TWO = [np.arange(4), np.arange(4, 8)]


def regroup(groups: list[np.ndarray], *decisions: Regrouping) -> list[str]:
    return sorted("".join(KEYS[row] for row in group) for group in regrouped(groups, KEYS, PLACES, decisions))


def test_groups_most_of_which_was_merged_are_one_and_others_stay() -> None:
    assert regroup(TWO, Regrouping(frozenset("abcefg"))) == ["abcdefgh"]
    assert regroup(TWO, Regrouping(frozenset("abce"))) == ["abcd", "efgh"]


def test_a_split_keeps_its_parts_apart_and_later_corrections_go_where_they_are_nearer() -> None:
    whole = [np.arange(8)]
    assert regroup(whole, Regrouping(frozenset("ab"), frozenset("gh"))) == ["abcd", "efgh"]
    assert regroup(whole, Regrouping(frozenset("xy"), frozenset("gh"))) == ["abcdefgh"]  # one part has left the ledger


def test_the_last_decision_counts() -> None:
    apart, together = Regrouping(frozenset("abcd"), frozenset("efgh")), Regrouping(frozenset(KEYS))
    assert regroup([np.arange(8)], apart, together) == ["abcdefgh"]
    assert regroup([np.arange(8)], together, apart) == ["abcd", "efgh"]
