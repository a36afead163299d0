import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from errata.editing.editors.slot_values import ValueProblem, least_change, solve_values


@pytest.mark.parametrize("seed", range(6))
def test_least_change_agrees_with_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes, expected = 5, seed % 5
    required = rng.normal(0.5, 1.5, classes)
    others = [y for y in range(classes) if y != expected]
    found = minimize(  # type: ignore[call-overload] # its stubs know no lists of dicts
        lambda v: v @ v / 2,
        np.zeros(classes),
        constraints=[{"type": "ineq", "fun": lambda v, y=y: v[expected] - v[y] - required[y]} for y in others],
        options={"ftol": 1e-12},
    ).x
    ours = least_change(torch.tensor(required)[None], torch.tensor([expected]))[0].numpy()
    np.testing.assert_allclose(ours, found, atol=1e-5)


def test_nothing_is_changed_where_nothing_is_required() -> None:
    assert torch.equal(least_change(torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([2])), torch.zeros(1, 3))


def problem(seed: int, slots: int, views: int, classes: int, crossing: float) -> ValueProblem:
    generator = torch.Generator().manual_seed(seed)
    rows = slots * views
    owner = torch.arange(slots).repeat_interleave(views)
    own = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.5
    activations = torch.zeros(rows, slots, dtype=torch.float64)
    activations[torch.arange(rows), owner] = own
    crossed = torch.rand(rows, slots, generator=generator, dtype=torch.float64)
    activations = torch.where((crossed < crossing) & (activations == 0), 0.3 * crossed / crossing, activations)
    view, slot = activations.nonzero(as_tuple=True)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    expected = torch.randint(0, classes, (slots,), generator=generator).repeat_interleave(views)
    return ValueProblem(logits, expected, owner, own, view, slot, activations[view, slot])


def test_every_view_wins_by_the_margin_though_slots_fire_on_each_other() -> None:
    asked = problem(0, slots=40, views=5, classes=6, crossing=0.05)
    values, unsolved = solve_values(asked, 40, margin=0.25)
    assert not unsolved.any()
    dense = torch.zeros(200, 40, dtype=torch.float64)
    dense[asked.view, asked.slot] = asked.activation
    logits = (asked.logits + dense @ values).numpy()
    for row, expected in enumerate(asked.expected.tolist()):
        assert logits[row, expected] - np.delete(logits[row], expected).max() >= 0.25 - 1e-6


def test_two_that_cannot_both_win_are_reported_and_others_are_not() -> None:
    asked = problem(1, slots=3, views=1, classes=3, crossing=0)
    # Slots 0 and 1 see the same image, corrected to classes 0 and 1.
    twins = ValueProblem(
        asked.logits,
        torch.tensor([0, 1, 2]),
        asked.owner,
        torch.ones(3, dtype=torch.float64),
        torch.tensor([0, 0, 1, 1, 2]),
        torch.tensor([0, 1, 0, 1, 2]),
        torch.ones(5, dtype=torch.float64),
    )
    _, unsolved = solve_values(twins, 3, margin=0.1)
    assert unsolved[:2].any()
    assert not unsolved[2]


def test_no_slot_at_all() -> None:
    asked = problem(2, slots=2, views=2, classes=3, crossing=0)
    nothing = torch.zeros(0, dtype=torch.int64)
    values, unsolved = solve_values(
        ValueProblem(asked.logits, asked.expected, torch.full((4,), -1), asked.own, nothing, nothing, nothing.double()),
        0,
        0.1,
    )
    assert values.shape == (0, 3)
    assert unsolved.shape == (0,)
