"""Edits side by side are the edits one by one, whatever the rule, layers and penalty."""

import pytest
import torch

from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.rules import RULES, Adam, GradientDescent, RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.side_by_side import edit_side_by_side
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

REFERENCE = small_images(100, 7)
RATES = {"gd": 0.3, "scaled_gd": 0.5, "polyak": 1.2, "rprop": 0.02, "rmsprop": 0.02, "momentum": 0.1, "adam": 0.02}
EDITORS = {
    **{name: GradientEditor(RULES[name](rate), Scope("chain3"), 10) for name, rate in RATES.items()},  # type: ignore[call-arg]
    "natural": GradientEditor(NaturalRule(images=100), Scope("chain4"), 5),
    "ewc": GradientEditor(RMSProp(0.02), Scope("head"), 10, penalty=ElasticPenalty(10.0, 50)),
    "whole": GradientEditor(Adam(0.003), Scope("whole"), 10, margin=0.1),
    "views": GradientEditor(RMSProp(0.01), Scope("chain4"), 10, margin=0.1, views=ViewSettings(fitting=4)),
}


@pytest.mark.parametrize("editor", EDITORS.values(), ids=EDITORS)
def test_each_is_what_it_is_alone(editor: GradientEditor) -> None:
    model, images = small_model(), small_images(5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    constraints = [Constraint(image, index % 4, f"{index}") for index, image in enumerate(images)]
    state = editor.prepare(model, REFERENCE, REFERENCE)
    together = edit_side_by_side(editor, model, constraints, state)
    alone = [editor.edit(model, [one], state) for one in constraints]
    assert [one.steps for one in together] == [one.steps for one in alone]
    assert len({one.steps for one in together}) > 1, "they end at different times, or the test shows nothing"
    assert [one.holds for one in together] == [one.holds for one in alone]
    assert [one.reason for one in together] == [one.reason for one in alone]
    for one, other in zip(together, alone, strict=True):
        for name, value in other.model.state_dict().items():
            torch.testing.assert_close(one.model.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_one_that_diverges_leaves_the_others_alone() -> None:
    model, images = small_model(), small_images(3)
    already = int(model(images[:1]).argmax())
    constraints = [Constraint(images[0], already), Constraint(images[1], int(model(images[1:2]).argsort(1)[0, 0]))]
    editor = GradientEditor(GradientDescent(1e38), Scope("chain3"), 5)
    held, lost = edit_side_by_side(editor, model, constraints, editor.prepare(model, REFERENCE, REFERENCE))
    assert held.success and held.steps == 0
    assert not lost.success and "no longer finite" in lost.reason
    for name, value in model.state_dict().items():
        assert torch.equal(lost.model.state_dict()[name], value)
