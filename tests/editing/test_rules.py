"""Each rule against a second derivation: the paper's equation in plain numpy, and torch.optim where they coincide."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.errors import ModelError
from errata.editing.rules import (
    RULES,
    Adam,
    GradientDescent,
    Momentum,
    Polyak,
    RMSProp,
    RProp,
    Rule,
    RuleRecord,
    ScaledGradientDescent,
)

Array = NDArray[np.float64]
START = {"a": np.array([0.5, -1.0, 2.0]), "b": np.array([[0.1, 0.0], [-0.3, 4.0]])}
GRADS = [
    {"a": np.array([0.3, -0.2, 0.0]), "b": np.array([[1.0, -2.0], [0.01, 0.0]])},
    {"a": np.array([-0.1, -0.4, 0.2]), "b": np.array([[0.5, 2.0], [-0.03, 0.6]])},
]

LOSS = torch.tensor(1.0, dtype=torch.float64)  # Polyak's alone looks at it


def numpy_gd() -> Iterator[dict[str, Array]]:
    for g in GRADS:
        yield {name: -0.1 * g[name] for name in g}


def numpy_scaled() -> Iterator[dict[str, Array]]:
    for g in GRADS:
        norm = np.linalg.norm(np.concatenate([g["a"], g["b"].ravel()]))
        yield {name: -0.1 * g[name] / norm for name in g}


def numpy_polyak() -> Iterator[dict[str, Array]]:
    for g in GRADS:
        square = sum(float((value**2).sum()) for value in g.values())
        yield {name: -0.1 * 1.0 * g[name] / square for name in g}


def numpy_rprop() -> Iterator[dict[str, Array]]:
    for g in GRADS:
        yield {name: -0.1 * np.sign(g[name]) for name in g}


def numpy_rmsprop() -> Iterator[dict[str, Array]]:
    first, second = GRADS
    rms0 = {name: first[name] ** 2 for name in first}
    rms1 = {name: 0.7 * rms0[name] + 0.3 * first[name] ** 2 for name in first}
    yield {name: -0.1 * first[name] / np.sqrt(rms1[name] + 1e-6) for name in first}
    rms2 = {name: 0.7 * rms1[name] + 0.3 * second[name] ** 2 for name in first}
    yield {name: -0.1 * second[name] / np.sqrt(rms2[name] + 1e-6) for name in first}


def numpy_momentum() -> Iterator[dict[str, Array]]:
    v = {name: np.zeros_like(value) for name, value in START.items()}
    for g in GRADS:
        v = {name: 0.1 * g[name] + 0.8 * v[name] for name in g}
        yield {name: -v[name] for name in g}


def numpy_adam() -> Iterator[dict[str, Array]]:
    m = {name: np.zeros_like(value) for name, value in START.items()}
    s = {name: np.zeros_like(value) for name, value in START.items()}
    for t, g in enumerate(GRADS, start=1):
        m = {name: 0.6 * m[name] + 0.4 * g[name] for name in g}
        s = {name: 0.9 * s[name] + 0.1 * g[name] ** 2 for name in g}
        yield {name: -0.1 * (m[name] / (1 - 0.6**t)) / np.sqrt(s[name] / (1 - 0.9**t) + 1e-6) for name in g}


@pytest.mark.parametrize(
    ("rule", "equation"),
    [
        (GradientDescent(0.1), numpy_gd),
        (ScaledGradientDescent(0.1), numpy_scaled),
        (Polyak(0.1), numpy_polyak),
        (RProp(0.1), numpy_rprop),
        (RMSProp(0.1, 0.7, 1e-6), numpy_rmsprop),
        (Momentum(0.1, 0.8), numpy_momentum),
        (Adam(0.1, 0.6, 0.9, 1e-6), numpy_adam),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) else "",
)
def test_two_steps_in_numpy(rule: Rule, equation: Callable[[], Iterator[dict[str, Array]]]) -> None:
    params = {name: torch.tensor(value) for name, value in START.items()}
    state = rule.init(params)
    for grads, wanted in zip(GRADS, equation(), strict=True):
        update, state = rule.step(params, {name: torch.tensor(g) for name, g in grads.items()}, state, LOSS)
        for name, value in wanted.items():
            np.testing.assert_allclose(update[name].numpy(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (GradientDescent(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        # the learning rate is inside the velocity here and outside it there: equal while it does not change
        (Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, momentum=0.8)),
        # torch adds eps outside the root: with a vanishing eps the definitions coincide
        (Adam(0.1, 0.6, 0.9, 1e-30), lambda p: torch.optim.Adam(p, 0.1, (0.6, 0.9), eps=1e-30)),
    ],
    ids=["gd", "momentum", "adam"],
)
def test_five_steps_with_torch_optim(rule: Rule, make: Callable[[list[torch.Tensor]], torch.optim.Optimizer]) -> None:
    mine = {"w": torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)}
    theirs = mine["w"].clone().requires_grad_()
    optimizer, state = make([theirs]), rule.init(mine)
    for _ in range(5):
        loss = (theirs**4).sum() + theirs.prod()
        optimizer.zero_grad()
        loss.backward()
        assert theirs.grad is not None
        leaf = mine["w"].clone().requires_grad_()
        (grad,) = torch.autograd.grad((leaf**4).sum() + leaf.prod(), leaf)
        update, state = rule.step(mine, {"w": grad}, state, LOSS)
        mine = {"w": mine["w"] + update["w"]}
        optimizer.step()
    torch.testing.assert_close(mine["w"], theirs.detach())


def test_adam_with_beta1_of_one_follows_the_mean_gradient() -> None:
    rule, params = Adam(1.0, 1.0, 1.0, 0.0), {"w": torch.zeros(1, dtype=torch.float64)}
    state = rule.init(params)
    for g in (1.0, 3.0, -1.0):
        update, state = rule.step(params, {"w": torch.tensor([g], dtype=torch.float64)}, state, LOSS)
    assert update["w"].item() == pytest.approx(-1.0 / np.sqrt(11 / 3))


def test_polyaks_step_lands_where_a_linear_loss_is_zero() -> None:
    slope, params = torch.tensor([3.0, -4.0]), {"w": torch.tensor([2.0, 1.0])}
    loss = slope @ params["w"] + 5
    update, _ = Polyak(1.0).step(params, {"w": slope}, Polyak().init(params), loss)
    assert float(slope @ (params["w"] + update["w"]) + 5) == pytest.approx(0.0, abs=1e-5)
    assert update["w"].norm().item() == pytest.approx(float(loss) / 5)  # the shortest way there


@pytest.mark.parametrize("name", sorted(RULES))
def test_rules_are_pure_and_finite_at_a_zero_gradient(name: str) -> None:
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    rule = replace(RULES[name](), learning_rate=rate)
    params = {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    grads = {"w": torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)}
    before = grads["w"].detach().clone()
    first, state = rule.step(params, grads, rule.init(params), LOSS)
    again, _ = rule.step(params, grads, rule.init(params), LOSS)
    second, _ = rule.step(params, grads, state, LOSS)
    assert torch.equal(first["w"], again["w"]) and torch.equal(grads["w"].detach(), before)
    derivatives = torch.autograd.grad(second["w"].sum(), [rate, grads["w"]], allow_unused=True)
    assert all(bool(torch.isfinite(one).all()) for one in derivatives if one is not None)
    assert derivatives[0] is not None


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_comes_back_from_its_record(name: str) -> None:
    rule = RULES[name](0.25)  # type: ignore[call-arg] # the first field of every rule is its rate
    record = RuleRecord.of(rule)
    assert record.rule() == rule
    written = record.model_dump_json()
    assert json.loads(written) == {"name": name, **asdict(rule)}
    assert RuleRecord.model_validate_json(written) == record


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"name": "sgd"}', "no rule is called 'sgd'; known: gd, "),
        ('{"name": "gd", "momentum": 0.9}', "gd has no 'momentum'; it has learning_rate"),
        ('{"name": "gd", "learning_rate": "0.1"}', "learning_rate"),
        ('{"name": "gd", "learning_rate": NaN}', "learning_rate"),
        ('{"learning_rate": 0.1}', "name"),
    ],
)
def test_a_record_of_no_rule_is_refused(text: str, named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        RuleRecord.model_validate_json(text)


def test_a_rule_without_a_record_is_refused() -> None:
    with pytest.raises(ModelError, match="NaturalRule has no record"):
        RuleRecord.of(NaturalRule())
