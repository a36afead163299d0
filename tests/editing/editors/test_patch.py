from __future__ import annotations

import json
from dataclasses import replace

import torch
from pydantic import TypeAdapter
from torch import Tensor

from errata.editing.constraints.classification import violation
from errata.editing.editors.patch import ON_THE_HEAD, CalibratedPatch
from errata.editing.model import EditableModel, batched_features
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint, SlotDiagnostics, Unheld
from errata.editing.views import fitting_views
from tests.editing.models import small_images, small_model

VIEWS = ViewSettings(fitting=5, max_shift=0.0, flip=False, light=0.05, noise=0.01)
EDITOR = CalibratedPatch(views=VIEWS, eps=1e-3)
REFERENCE, CALIBRATION = small_images(300, 7), small_images(200, 8)


def mistakes(model: EditableModel, count: int, seed: int = 5) -> list[Constraint]:
    """Images unlike the control ones (black and white), asked to be the class that the model finds least likely."""
    images = (small_images(count, seed) > 127).to(torch.uint8) * 255
    expected = model(images).argmin(1).tolist()
    return [Constraint(image, y, f"c{i:03}") for i, (image, y) in enumerate(zip(images, expected, strict=True))]


def logits(model: EditableModel, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(images)
    return found


def test_all_hold_each_in_its_own_slot_and_nothing_else_moves() -> None:
    model = small_model(slots=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    constraints = mistakes(model, 6)
    result = EDITOR.edit(model, constraints, EDITOR.prepare(model, REFERENCE, CALIBRATION))
    assert result.success, result.reason
    assert result.holds == (True,) * 6
    assert result.steps == 1
    assert [slot.slot for slot in result.slots] == [0, 1, 2, 3, 4, 5]
    assert all(slot.separated and slot.calibration_firing == 0 for slot in result.slots)
    images = torch.stack([one.image for one in constraints])
    expected = torch.tensor([one.expected for one in constraints])
    assert bool((violation(logits(result.model, images), expected) <= 0).all())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert name.startswith("patch.") or torch.equal(result.model.state_dict()[name], tensor)


def test_where_no_slot_fires_logits_are_the_roots_bit_for_bit() -> None:
    model = small_model()
    result = EDITOR.edit(model, mistakes(model, 6), EDITOR.prepare(model, REFERENCE, CALIBRATION))
    fresh = small_images(400, 9)
    firing = result.model.patch.activations(batched_features(model, fresh)).gt(0).any(1)
    same = (logits(model, fresh) == logits(result.model, fresh)).all(1)
    assert torch.equal(same | firing, torch.ones(400, dtype=torch.bool))
    assert torch.equal(logits(model, CALIBRATION), logits(result.model, CALIBRATION))
    assert float(firing.double().mean()) < 0.1


def test_diagnostics_say_what_the_slots_do() -> None:
    model = small_model()
    editor = CalibratedPatch(views=VIEWS, eps=1e-3, alpha=0.02)
    result = editor.edit(model, mistakes(model, 4), editor.prepare(model, REFERENCE, CALIBRATION))
    slots = result.model.patch
    scores = slots.directions(batched_features(model, CALIBRATION)) @ slots.weight.T
    for one in result.slots:
        assert TypeAdapter(SlotDiagnostics).validate_json(json.dumps(vars(one)), strict=True) == one
        column = scores[:, one.slot]
        assert one.calibration_firing == (column > slots.threshold[one.slot]).double().mean()
        image = next(c.image for c in mistakes(model, 4) if c.key == one.key)
        activation = (slots.directions(batched_features(model, image[None])) @ slots.weight[one.slot])[0]
        assert one.margin <= (activation - slots.threshold[one.slot]) / column.std() + 1e-4


def test_order_of_constraints_is_no_part_of_the_result() -> None:
    model = small_model()
    constraints = mistakes(model, 6)
    state = EDITOR.prepare(model, REFERENCE, CALIBRATION)
    forward = EDITOR.edit(model, constraints, state)
    backward = EDITOR.edit(model, constraints[::-1], state)
    for name, tensor in forward.model.state_dict().items():
        assert torch.equal(tensor, backward.model.state_dict()[name])
    assert forward.slots == backward.slots


def test_what_holds_already_takes_no_slot() -> None:
    model = small_model()
    image = small_images(1, 5)[0]
    right = Constraint(image, int(logits(model, image[None]).argmax()), "right")
    state = EDITOR.prepare(model, REFERENCE, CALIBRATION)
    result = EDITOR.edit(model, [right], state)
    assert (result.success, result.steps, result.slots) == (True, 0, ())
    mixed = EDITOR.edit(model, [right, *mistakes(model, 3, seed=6)], state)
    assert mixed.success
    assert "right" not in {slot.key for slot in mixed.slots}


def test_a_full_patch_is_a_result_with_a_reason() -> None:
    model = small_model(slots=3)
    result = EDITOR.edit(model, mistakes(model, 5), EDITOR.prepare(model, REFERENCE, CALIBRATION))
    assert not result.success
    assert result.holds == (True, True, True, False, False)
    assert "3 free slots" in result.reason
    assert result.deferred == {3: Unheld.NO_SLOT, 4: Unheld.NO_SLOT}


def test_slots_in_use_are_left_alone() -> None:
    model = small_model(slots=8)
    state = EDITOR.prepare(model, REFERENCE, CALIBRATION)
    first = EDITOR.edit(model, mistakes(model, 2, seed=5), state).model
    second = EDITOR.edit(first, mistakes(model, 2, seed=6), state)
    assert [slot.slot for slot in second.slots] == [2, 3]
    assert torch.equal(second.model.patch.weight[:2], first.patch.weight[:2])


def test_an_image_among_the_calibration_images_is_deferred_or_falls_back_to_the_head() -> None:
    model = small_model()
    constraints = mistakes(model, 3)
    calibration = torch.cat([CALIBRATION, constraints[1].image[None]])
    result = EDITOR.edit(model, constraints[::-1], EDITOR.prepare(model, REFERENCE, calibration))
    assert result.holds == (True, False, True)
    assert result.deferred == {1: Unheld.NOT_APART}
    assert torch.equal(result.model.head.weight, model.head.weight)
    assert "not apart" in result.reason
    assert [slot.separated for slot in result.slots] == [True, False, True]
    moving = replace(EDITOR, fallback=ON_THE_HEAD)
    result = moving.edit(model, constraints, moving.prepare(model, REFERENCE, calibration))
    assert result.success, result.reason
    assert result.deferred == {}
    assert [slot.slot for slot in result.slots] == [0, -1, 1]
    for name, tensor in model.state_dict().items():
        assert name.startswith(("patch.", "head.")) or torch.equal(result.model.state_dict()[name], tensor)
    assert not torch.equal(result.model.head.weight, model.head.weight)


def test_nearly_equal_images_with_other_classes_do_not_spoil_the_rest() -> None:
    model = small_model()
    constraints = mistakes(model, 4)
    twin = constraints[0].image.clone()
    twin[0, 0] = twin[0, 0] ^ 1
    other = Constraint(twin, (constraints[0].expected + 1) % 4, "twin")
    result = EDITOR.edit(model, [*constraints, other], EDITOR.prepare(model, REFERENCE, CALIBRATION))
    assert not result.success
    assert result.holds[1:4] == (True, True, True)
    assert "nearly the same image" in result.reason
    assert result.deferred == {row: Unheld.CONFLICT for row, held in enumerate(result.holds) if not held}
    assert bool(torch.isfinite(result.model.patch.value).all())


def test_an_image_that_is_a_view_of_another_with_another_class_costs_views_not_promises() -> None:
    model = small_model(slots=8)
    (first,) = mistakes(model, 1)
    editor = replace(EDITOR, views=ViewSettings(fitting=9, max_shift=0.4, flip=False, light=0.05, noise=0.01))
    view = fitting_views(first.image, editor.views, editor.seed)[1]
    second = Constraint(view, (first.expected + 1) % 4, "view")
    result = editor.edit(model, [first, second], editor.prepare(model, REFERENCE, CALIBRATION))
    assert result.holds == (True, True), result.reason


def test_bfloat16() -> None:
    model = small_model().to(torch.bfloat16)
    result = EDITOR.edit(model, mistakes(model, 4), EDITOR.prepare(model, REFERENCE, CALIBRATION))
    assert result.success, result.reason
    assert result.model.patch.weight.dtype == torch.bfloat16
