"""Objective (2) term by term against the editor itself, its gradient against finite differences, and the loop."""

import copy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from errata.editing.constraints.classification import violation
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import ScopeError
from errata.editing.model import EditableModel
from errata.editing.rules import RULES, Adam, GradientDescent, RMSProp
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training.editable import EditableObjective, LearnableRule, divergence, train_editable
from errata.editing.training.plain import Epoch
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

IMAGES, LABELS = small_images(40), torch.arange(40) % 4
RULE = RMSProp(0.003, 0.5)
SETTINGS = EditableSettings(scope="chain4", edit_steps=2, edit_weight=0.7, locality_weight=0.3)


def drawn(objective: EditableObjective) -> tuple[int, int]:
    """The constraint that the objective will draw next: image and class."""
    generator = torch.Generator()
    generator.set_state(objective.generator.get_state())
    return int(torch.randint(40, (), generator=generator)), int(torch.randint(4, (1,), generator=generator))


def test_each_term_is_what_the_editor_gives() -> None:
    model = small_model().double().train()
    objective = EditableObjective(SETTINGS, seed=1, rule=RULE)
    chosen, target = drawn(objective)
    twin = copy.deepcopy(model)
    loss, measures = objective(model, IMAGES, LABELS)
    hidden = before(twin, IMAGES, 4)
    base = F.cross_entropy(twin.tail(4)(hidden), LABELS)
    twin.eval()
    result = GradientEditor(RULE, Scope("chain4"), 2).edit(twin, [Constraint(IMAGES[chosen], target)], GradientState())
    edit = violation(result.model(IMAGES[chosen : chosen + 1]), torch.tensor([target])).item()
    assert result.steps == 2 and edit > 0  # so that no term vanishes
    others = torch.arange(40) != chosen
    root, edited = (torch.softmax(one.tail(4)(hidden[others]), 1) for one in (twin, result.model))
    local = (root * (root / edited).log()).sum(1).mean()
    assert measures == pytest.approx({"base": base.item(), "edit": edit, "steps": 2, "local": local.item()}, rel=1e-5)
    assert loss.item() == pytest.approx(base.item() + 0.7 * edit + 0.3 * local.item(), rel=1e-5)


def test_of_several_edits_both_terms_are_means() -> None:
    model = small_model().train()
    objective = EditableObjective(SETTINGS.model_copy(update={"edits": 3}), seed=1, rule=RULE)
    start = objective.generator.get_state()
    chosen, target = objective.draw(40, 4)
    objective.generator.set_state(start)
    _, measures = objective(copy.deepcopy(model), IMAGES, LABELS)
    alone = []
    for row, wanted in zip(chosen.tolist(), target.tolist(), strict=True):
        single = EditableObjective(SETTINGS, seed=1, rule=RULE)
        single.draw = lambda images, classes, row=row, wanted=wanted: (torch.tensor([row]), torch.tensor([wanted]))  # type: ignore[method-assign, misc]
        alone.append(single(copy.deepcopy(model), IMAGES, LABELS)[1])
    assert len({each["edit"] for each in alone}) > 1
    for name in ("edit", "local", "steps"):
        assert measures[name] == pytest.approx(sum(each[name] for each in alone) / 3, rel=1e-4), name


def test_gradient_is_the_finite_difference() -> None:
    """With respect to frozen, editable and the rule's parameters; the root's predictions are constants in L_loc."""
    model = small_model().double().train()
    objective = EditableObjective(SETTINGS.model_copy(update={"locality_weight": 0.0}), seed=1, rule=RULE)
    objective.rule.double()
    names = ["backbone.chain1.0.conv1.weight", "backbone.chain4.0.conv2.weight", "head.bias"]
    places = [*(model.get_parameter(name) for name in names), *objective.coefficients()]
    start = objective.generator.get_state()

    def value() -> torch.Tensor:
        objective.generator.set_state(start)
        return objective(model, IMAGES, LABELS)[0]

    # the editor sees running statistics, which each evaluation moves: fix them
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    slopes = torch.autograd.grad(value(), places)
    generator, step = torch.Generator().manual_seed(0), 1e-6
    for place, slope in zip(places, slopes, strict=True):
        way = torch.randn(place.shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -2):
            with torch.no_grad():
                place.add_(sign * step * way)
            ends.append(value().item())
        with torch.no_grad():
            place.add_(step * way)
        assert slope.norm() > 0
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((slope * way).sum()), rel=1e-4, abs=1e-8)


def test_locality_is_the_mean_divergence_summed_over_classes() -> None:
    root, edited = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    wanted = F.kl_div(F.log_softmax(edited, 1), F.log_softmax(root, 1), log_target=True, reduction="batchmean")
    assert divergence(root, edited).item() == pytest.approx(wanted.item())
    assert divergence(root, root).item() == pytest.approx(0.0, abs=1e-7)


def test_only_the_base_pass_moves_running_statistics_and_modes_return() -> None:
    model = small_model().train()
    twin = copy.deepcopy(model)
    EditableObjective(SETTINGS, seed=1, rule=RULE)(model, IMAGES, LABELS)
    twin(IMAGES)
    for name, buffer in twin.named_buffers():
        assert torch.equal(model.get_buffer(name), buffer), name
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", sorted(RULES))
def test_learnable_rule_starts_as_the_rule(name: str) -> None:
    rule = RULES[name]()
    learned = LearnableRule(rule).learned()
    assert type(learned) is type(rule)
    for field, value in vars(rule).items():
        assert getattr(learned, field) == pytest.approx(value, rel=1e-4)


def test_the_decay_of_one_stays_finite() -> None:
    assert LearnableRule(Adam(beta1=1.0)).learned().beta1 == pytest.approx(0.999)  # type: ignore[attr-defined]


SMALL = EditableSettings(
    epochs=2, batch=16, learning_rate=0.02, clip=10.0, scope="chain4", edit_steps=3, locality_weight=0.1
)
SMALL_RULE = GradientDescent(0.05)


def train_small(learn: bool = True) -> tuple[EditableModel, float]:
    model = small_model()
    settings = SMALL.model_copy(update={"learn_rule": learn})
    record = train_editable(model, IMAGES, LABELS, settings, rule=SMALL_RULE)
    assert len(record.training.epochs) == 2 and not model.training
    return model, record.rule.learning_rate  # type: ignore[attr-defined]


def test_same_seed_same_model_and_the_rule_is_learned() -> None:
    (one, rate), (two, again), (_, fixed) = train_small(), train_small(), train_small(learn=False)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    assert rate == again and rate != pytest.approx(0.05, rel=1e-3) and fixed == pytest.approx(0.05)


def test_stopping_in_between_changes_nothing(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        raise StoppedError

    state = tmp_path / "state.pt"
    with pytest.raises(StoppedError):
        train_editable(small_model(), IMAGES, LABELS, SMALL, stop, rule=SMALL_RULE, resume=state)
    resumed = small_model(seed=9)
    record = train_editable(resumed, IMAGES, LABELS, SMALL, rule=SMALL_RULE, resume=state)
    straight, rate = train_small()
    assert record.rule.learning_rate == rate  # type: ignore[attr-defined]
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_layers_that_match_nothing_are_refused_before_training() -> None:
    with pytest.raises(ScopeError, match="chain9"):
        train_editable(small_model(), IMAGES, LABELS, EditableSettings(epochs=1, scope="chain9"))
