"""The contract of every editor, run over all of them: what a caller may rely on without knowing which one it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from errata.editing.constraints import violation
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import ConstraintError, ErrataError, ScopeError
from errata.editing.model import EditableModel
from errata.editing.rules import RULES, RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.cnp import ConditionalEditor, ConditionNetwork, conditioned
from errata.editing.studies.dknn import DeepNeighbours, NeighbourModel
from errata.editing.studies.sequential import Sequential
from errata.editing.types import Constraint, Editor
from tests.editing.models import small_images, small_model

REFERENCE, CALIBRATION = small_images(120, seed=11), small_images(120, seed=12)
RATES = {"gd": 0.3, "scaled_gd": 0.5, "rprop": 0.02, "rmsprop": 0.02, "momentum": 0.1, "adam": 0.02}
VIEWS = ViewSettings(fitting=5, max_shift=0.13)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


def neighbours() -> NeighbourModel:
    return NeighbourModel(small_model(), REFERENCE, torch.arange(120) % 4, ("chain3", "chain4"), 3)


def conditional() -> ConditionalEditor:
    torch.manual_seed(5)
    network = ConditionNetwork.of(conditioned(small_model()))
    torch.nn.init.normal_(network.out.weight, std=0.3)
    return ConditionalEditor(network)


@dataclass(frozen=True)
class Case:
    """An editor, the model it edits, and the prefixes of the names that it may change."""

    editor: Callable[[], Editor[Any]]
    may_change: tuple[str, ...]
    model: Callable[[], EditableModel] = small_model
    succeeds: bool = True  # on a model that was never trained for it
    halves: bool = True  # runs in bfloat16


CHAIN3 = ("backbone.chain3.",)
CASES = {
    **{
        name: Case(lambda name=name: GradientEditor(RULES[name](RATES[name]), Scope("chain3"), 40), CHAIN3)  # type: ignore[misc,call-arg]
        for name in RULES
    },
    "whole": Case(lambda: GradientEditor(RMSProp(0.01), Scope("whole"), 40), ("backbone.", "head.")),
    "head": Case(lambda: GradientEditor(RMSProp(0.05), Scope("head"), 40), ("head.",)),
    "ewc": Case(lambda: GradientEditor(RMSProp(0.02), Scope("chain3"), 40, penalty=ElasticPenalty(1.0, 50)), CHAIN3),
    "natural rule": Case(lambda: GradientEditor(NaturalRule(images=120), Scope("chain3"), 40), CHAIN3),
    "natural": Case(lambda: NaturalGradient(Scope("chain4")), ("backbone.chain4.",)),
    "sequential": Case(lambda: Sequential(GradientEditor(RMSProp(0.02), Scope("chain3"), 40)), CHAIN3),
    "patch": Case(lambda: CalibratedPatch(alpha=0.1, views=VIEWS), ("patch.",)),
    "cnp": Case(conditional, ("backbone.condition.",), lambda: conditioned(small_model()), succeeds=False),
    "dknn": Case(DeepNeighbours, ("head.",), neighbours, halves=False),
}
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def wrong_class(model: EditableModel, image: Tensor) -> int:
    """The class that is second in the model's order."""
    return int(model(image[None].to(model.head.weight.device))[0].float().topk(2).indices[1])


def snapshot(model: EditableModel) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@every
@pytest.mark.parametrize("device", DEVICES)
def test_success_means_that_the_constraint_holds_and_the_root_stays(case: Case, device: str) -> None:
    model, image = case.model().to(device), small_images(1)[0]
    editor = case.editor()
    state = editor.prepare(model, REFERENCE, CALIBRATION)
    kept, mode = snapshot(model), model.training
    target = wrong_class(model, image)
    result = editor.edit(model, [Constraint(image, target, "one")], state)
    with torch.no_grad():
        holds = bool(violation(result.model(image[None].to(device)), torch.tensor([target], device=device)) <= 0)
    assert result.success == holds == result.holds[0]
    assert (result.reason == "") == result.success and result.seconds > 0
    assert result.success or not case.succeeds
    assert model.training == mode and not result.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    changed = [name for name, value in result.model.state_dict().items() if not torch.equal(value, kept[name])]
    assert bool(changed) == (result.steps > 0) and all(name.startswith(case.may_change) for name in changed)


@every
def test_what_holds_already_takes_no_steps(case: Case) -> None:
    model, image = case.model(), small_images(1)[0]
    editor = case.editor()
    satisfied = Constraint(image, int(model(image[None]).argmax()))
    result = editor.edit(model, [satisfied], editor.prepare(model, REFERENCE, CALIBRATION))
    assert result.success and result.steps == 0 and result.holds == (True,)
    for name, value in model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name


@every
def test_same_seed_same_result_whatever_was_random_before(case: Case) -> None:
    found = []
    for noise in (1, 2):
        model, editor = case.model(), case.editor()
        torch.manual_seed(noise)
        state = editor.prepare(model, REFERENCE, CALIBRATION)
        image = small_images(1)[0]
        found.append(editor.edit(model, [Constraint(image, wrong_class(model, image))], state))
    assert found[0].steps == found[1].steps
    for name, value in found[0].model.state_dict().items():
        assert torch.equal(value, found[1].model.state_dict()[name]), name


@every
def test_several_at_once(case: Case) -> None:
    model, images = case.model(), small_images(4)
    editor = case.editor()
    constraints = [Constraint(image, wrong_class(model, image), str(index)) for index, image in enumerate(images)]
    result = editor.edit(model, constraints, editor.prepare(model, REFERENCE, CALIBRATION))
    with torch.no_grad():
        expected = torch.tensor([one.expected for one in constraints])
        holds = (violation(result.model(images), expected) <= 0).tolist()
    assert list(result.holds) == holds and result.success == all(holds) == (result.reason == "")


@every
def test_bfloat16(case: Case) -> None:
    if not case.halves:
        pytest.skip("the neighbours' numbers do not fit into bfloat16")
    model, image = case.model().bfloat16(), small_images(1)[0]
    editor = case.editor()
    target = wrong_class(model, image)
    result = editor.edit(model, [Constraint(image, target)], editor.prepare(model, REFERENCE, CALIBRATION))
    with torch.no_grad():
        holds = bool(violation(result.model(image[None]), torch.tensor([target])) <= 0)
    assert result.success == holds and next(result.model.parameters()).dtype == torch.bfloat16
    assert result.success or not case.succeeds


GOOD = small_images(1)[0]
NOT_A_NUMBER = GOOD.float().masked_fill(torch.ones_like(GOOD, dtype=torch.bool), float("nan"))


@every
@pytest.mark.parametrize(
    ("constraints", "named"),
    [
        ([], "no constraints"),
        ([Constraint(GOOD, 4, "key")], "key: class 4"),
        ([Constraint(NOT_A_NUMBER, 0, "key")], "key: .*NaN"),
        ([Constraint(GOOD[:4], 0, "key")], "key: .*shape"),
        ([Constraint(GOOD, 0, "one"), Constraint(GOOD, 1, "two")], "one and two contradict"),
    ],
    ids=["empty", "class", "nan", "shape", "contradiction"],
)
def test_bad_constraints_are_refused_by_name(case: Case, constraints: list[Constraint], named: str) -> None:
    model, editor = case.model(), case.editor()
    with pytest.raises(ConstraintError, match=named):
        editor.edit(model, constraints, editor.prepare(model, REFERENCE, CALIBRATION))


@pytest.mark.parametrize("make", [lambda scope: GradientEditor(RMSProp(), scope), NaturalGradient])
def test_layers_that_match_nothing_are_refused(make: Callable[[Scope], Editor[Any]]) -> None:
    with pytest.raises(ScopeError, match="chain9"):
        editor = make(Scope("chain9"))
        model = small_model()
        editor.edit(model, [Constraint(GOOD, 0)], editor.prepare(model, REFERENCE, CALIBRATION))
    assert issubclass(ScopeError, ErrataError)
