"""`l_e` against the definition in plain numpy, and every refusal by name."""

import numpy as np
import pytest
import torch

from errata.editing.constraints.classification import check_constraints, violation
from errata.editing.errors import ConstraintError
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model


def test_violation_is_the_papers_difference_of_log_probabilities() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 6))
    expected = np.random.default_rng(1).integers(0, 6, size=50)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wanted = [
        max(np.log(row[y]) for y in range(6) if y != reference) - np.log(row[reference])
        for row, reference in zip(probabilities, expected, strict=True)
    ]
    found = violation(torch.tensor(logits), torch.tensor(expected))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    assert ((found < 0).numpy() == (logits.argmax(1) == expected)).all()


def test_violation_of_bfloat16_logits_is_not_rounded() -> None:
    logits = torch.tensor([[1.0, 256.0]], dtype=torch.bfloat16)
    assert violation(logits, torch.tensor([0])).item() == 255.0


def test_constraints_are_stacked_in_order() -> None:
    model, images = small_model(), small_images(3)
    stacked, expected = check_constraints(model, [Constraint(images[index], index) for index in range(3)])
    assert torch.equal(stacked, images) and expected.tolist() == [0, 1, 2]


def test_the_same_demand_twice_is_no_contradiction() -> None:
    image = small_images(1)[0]
    check_constraints(small_model(), [Constraint(image, 1, "a"), Constraint(image.clone(), 1, "b")])


GOOD = small_images(1)[0]
NOT_A_NUMBER = GOOD.float().clone()
NOT_A_NUMBER[0, 0, 0] = float("nan")


@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        ([], "no constraints"),
        ([Constraint(GOOD, 4, "key-1")], "key-1: class 4"),
        ([Constraint(GOOD, -1, "key-1")], "key-1: class -1"),
        ([Constraint(GOOD[:7], 0, "key-1")], r"key-1: the image is of shape \(7, 8, 1\)"),
        ([Constraint(NOT_A_NUMBER, 0, "key-1")], "key-1: the image holds NaN"),
        ([Constraint(GOOD.float() * 300, 0, "key-1")], "key-1: .*outside 0 to 255"),
        ([Constraint(GOOD.long(), 0)], "constraint 0: .*int64"),
        ([Constraint(GOOD, 0, "one"), Constraint(GOOD.clone(), 1, "two")], "one and two contradict"),
    ],
)
def test_refused_by_name(constraints: list[Constraint], named: str) -> None:
    with pytest.raises(ConstraintError, match=named):
        check_constraints(small_model(), constraints)
