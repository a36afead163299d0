"""The same results on a GPU as on the CPU, within tolerance, and training in bfloat16. Without a GPU the first skip."""

from typing import Any

import pytest
import torch
from torch import Tensor

from errata.editing.devices import choose_device
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel, batched_features, fit_patch
from errata.editing.scopes import Scope
from errata.editing.settings import TrainingSettings, ViewSettings
from errata.editing.training.plain import predict, train
from errata.editing.types import Constraint, Editor
from tests.editing.models import small_images, small_model

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
REFERENCE, CALIBRATION, FRESH = (small_images(count, seed) for count, seed in ((200, 11), (200, 12), (50, 13)))
LABELS = torch.arange(len(REFERENCE)) % 4
PATCH = CalibratedPatch(alpha=0.05, views=ViewSettings(fitting=5, max_shift=0.13))
SETTINGS = TrainingSettings(epochs=8, batch=32, learning_rate=0.05)


def constraints(model: EditableModel) -> list[Constraint]:
    """Three images, each demanded as the class that comes second."""
    images = small_images(3, seed=7)
    second = predict(model, images).topk(2).indices[:, 1]
    return [
        Constraint(image, int(target), str(row)) for row, (image, target) in enumerate(zip(images, second, strict=True))
    ]


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Within `tolerance` of the spread of what is expected."""
    return bool((found.cpu().double() - expected.double()).abs().max() <= tolerance * expected.double().std())


@on_a_gpu
def test_auto_takes_the_gpu() -> None:
    assert choose_device().type == "cuda"


@on_a_gpu
def test_features_and_what_the_slots_look_at_are_the_same() -> None:
    here, there = small_model(), small_model().to("cuda")
    for model in (here, there):
        fit_patch(model, REFERENCE)
    assert close(batched_features(there, FRESH), batched_features(here, FRESH), 1e-3)
    with torch.no_grad():
        directions = [model.patch.directions(batched_features(model, FRESH)) for model in (here, there)]
    assert close(directions[1], directions[0], 1e-2)


@on_a_gpu
@pytest.mark.parametrize("editor", [PATCH, NaturalGradient(Scope("head"))], ids=["patch", "natural gradient"])
def test_an_edit_does_the_same(editor: Editor[Any]) -> None:
    here, there = small_model(), small_model().to("cuda")
    results = [
        editor.edit(model, constraints(here), editor.prepare(model, REFERENCE, CALIBRATION)) for model in (here, there)
    ]
    assert results[0].holds == results[1].holds == (True,) * 3
    assert [slot.slot for slot in results[0].slots] == [slot.slot for slot in results[1].slots]
    assert close(predict(results[1].model, FRESH), predict(results[0].model, FRESH), 1e-2)


def trained(device: str, precision: str) -> tuple[EditableModel, float]:
    """A model that was taught to tell four degrees of brightness apart, and how many it gets right."""
    images = (REFERENCE * (1 + LABELS[:, None, None, None]) / 4).to(torch.uint8)
    model = small_model()
    train(model, images, LABELS, SETTINGS.model_copy(update={"precision": precision}), device=device)
    return model, float((predict(model, images).argmax(1) == LABELS).float().mean())


@on_a_gpu
def test_training_learns_the_same() -> None:
    assert trained("cpu", "float32")[1] > 0.95
    assert trained("cuda", "float32")[1] > 0.95


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
def test_training_in_bfloat16_keeps_float32_weights_and_learns_as_well(device: str) -> None:
    (full, first), (half, last) = trained(device, "float32"), trained(device, "bfloat16")
    assert first > 0.95 and last > 0.95
    assert {weight.dtype for weight in half.parameters()} == {torch.float32}
    assert not torch.equal(half.head.weight, full.head.weight), "bfloat16 was not used"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_a_gpu)])
def test_predictions_in_bfloat16_are_near_those_in_float32(device: str) -> None:
    model = small_model().to(device)
    full, half = predict(model, FRESH), predict(model, FRESH, precision="bfloat16")
    assert half.dtype == torch.float32
    assert close(half, full, 0.05)
    assert not torch.equal(half, full)
