"""What the slots of a patch add: the least change of the logits that makes every correction win, all solved together.

A slot's row `v` acts on each image in proportion to its activation `a`. On a view of its own correction it must give
`a (v_E - v_y) >= gap_y` for every class y but the expected one E. Only the hardest view of each class counts, so that
this is `v_E - v_y >= G_y` with `G_y = max over views of gap_y / a`, and the shortest such `v` has a closed form.

Slots may fire on each other's views. Each round adds to `G` what is still missing under all the others' rows; as `G`
only grows, corrections that help each other end early, and two that cannot both win (nearly the same image, other
classes) outgrow any bound and are reported instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROUNDS = 50
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ValueProblem:
    """Which views each slot's row must make right, over `r` views, `s` slots and `c` classes.

    `logits` float64 `[r, c]`, without the slots to be solved; `expected` int64 `[r]`; `owner` int64 `[r]`, the slot
    that must make this view right, -1 if none must; `own` float64 `[r]`, its activation there, positive where owned.
    `view`, `slot` int64 `[f]` and `activation` float64 `[f]` list every firing of any slot on any view.
    """

    logits: Tensor
    expected: Tensor
    owner: Tensor
    own: Tensor
    view: Tensor
    slot: Tensor
    activation: Tensor


def solve_values(problem: ValueProblem, slots: int, margin: float) -> tuple[Tensor, Tensor]:
    """Rows `[slots, c]`, and which slots still miss a view `[slots]` (their rows mean nothing).

    `margin` in logits is by how much the expected class must win.
    """
    classes = problem.logits.shape[1]
    owned = problem.owner >= 0
    owner = problem.owner[owned]
    expected = torch.zeros(slots, dtype=torch.int64, device=owner.device).index_copy_(0, owner, problem.expected[owned])
    values = problem.logits.new_zeros(slots, classes)
    required = problem.logits.new_full((slots, classes), float("-inf"))
    for turn in range(_ROUNDS):
        logits = problem.logits.index_add(0, problem.view, problem.activation[:, None] * values[problem.slot])[owned]
        wins = logits.gather(1, problem.expected[owned][:, None])
        missing = ((logits - wins + margin) / problem.own[owned][:, None]).scatter(
            1, problem.expected[owned][:, None], float("-inf")
        )
        hardest = torch.full_like(required, float("-inf")).scatter_reduce_(
            0, owner[:, None].expand_as(missing), missing, "amax"
        )
        unsolved = hardest.amax(1) > _TOLERANCE
        if not bool(unsolved.any()):
            break
        required = hardest if turn == 0 else required + hardest.clamp(min=0)
        values = least_change(required, expected)
    return values, unsolved


def least_change(required: Tensor, expected: Tensor) -> Tensor:
    """The shortest rows `v` `[s, c]` with `v_E - v_y >= required_y` for all y but `E = expected` `[s]`.

    By the Lagrangian `v_E = t` and `v_y = -max(0, required_y - t)` with `t = sum of max(0, required_y - t)`; the root
    `t` is the largest of `(sum of the m largest required) / (m + 1)` over m, or 0.
    """
    others = required.scatter(1, expected[:, None], float("-inf"))
    ranked = others.sort(dim=1, descending=True).values[:, :-1]
    counts = torch.arange(2, ranked.shape[1] + 2, dtype=ranked.dtype, device=ranked.device)
    top = (ranked.cumsum(1) / counts).amax(1).clamp(min=0)[:, None]
    return (-(others - top).clamp(min=0)).scatter(1, expected[:, None], top)
