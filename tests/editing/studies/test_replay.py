"""The rehearsal's penalty against torch's own KL, and what it is there for: less change of other predictions."""

import pytest
import torch
from torch.nn import functional as F

from errata.editing.editors.gradient import GradientEditor
from errata.editing.errors import DataError
from errata.editing.rules import GradientDescent
from errata.editing.scopes import Scope
from errata.editing.studies.replay import RehearsalPenalty
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

REFERENCE = small_images(60, 7)


def test_is_the_weighted_divergence_on_rehearsed_images() -> None:
    model = small_model().double()
    layers = Scope("chain4").resolve(model)
    penalty = RehearsalPenalty(3.0, images=60)
    edited = layers.copy(model)
    with torch.no_grad():
        for name in layers.names:
            edited.get_parameter(name).mul_(1.1)
    found = penalty.anchor(layers.copy(model), layers, REFERENCE)(layers.parameters(edited))
    old, new = (F.log_softmax(one(REFERENCE), 1) for one in (model, edited))
    assert found.item() == pytest.approx(
        3 * F.kl_div(new, old, log_target=True, reduction="batchmean").item(), rel=1e-5
    )
    assert found.item() > 0


def test_an_edit_with_rehearsal_changes_other_predictions_less() -> None:
    model, image = small_model(), small_images(1)[0]
    target = int(model(image[None]).argmin())
    changed = {}
    for weight in (0.0, 20.0):
        editor = GradientEditor(GradientDescent(0.02), Scope("chain4"), 10, penalty=RehearsalPenalty(weight, 60))
        result = editor.edit(model, [Constraint(image, target)], editor.prepare(model, REFERENCE, REFERENCE))
        assert result.success
        old, new = (F.log_softmax(one(REFERENCE), 1) for one in (model, result.model))
        changed[weight] = F.kl_div(new, old, log_target=True, reduction="batchmean").item()
    assert changed[20.0] < 0.7 * changed[0.0]


def test_nothing_to_rehearse_is_refused() -> None:
    model = small_model()
    with pytest.raises(DataError, match="nothing to rehearse"):
        RehearsalPenalty().anchor(model, Scope("head").resolve(model), REFERENCE[:0])
