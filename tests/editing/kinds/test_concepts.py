"""Kinds of concept: found by features, the head replaced where the detector fires, elsewhere the root's logits."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from errata.editing.editors.patch import CalibratedPatch
from errata.editing.kinds.find import Kind, with_kinds
from errata.editing.model import EditableModel, load_model, save_model
from errata.editing.onnx.delta import apply_delta, make_delta
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes
from tests.editing.kinds import pale
from tests.editing.kinds.concept import CLAIMED, FINDER, VIEWS, claims, conceived, control, found, unseen
from tests.editing.kinds.pale import classes, fired
from tests.editing.models import small_model


def test_a_concept_is_found_and_images_of_it_that_nobody_reported_get_right() -> None:
    (kind,) = found()[1]
    mine, ordinary = unseen()
    root, model = small_model(), conceived()
    assert kind.concept and len(kind.fitted) >= FINDER.settings.members
    assert set(kind.replaced) == {"head.weight", "head.bias"}
    assert not any(FINDER.held_out(key) for key in kind.fitted)
    assert float((fired(model, mine) == 0).double().mean()) > 0.7
    assert float((fired(model, ordinary) == 0).double().mean()) < 0.03  # alpha is 1%
    assert not bool((classes(root, mine) == CLAIMED).any())
    assert float((classes(model, mine) == CLAIMED).double().mean()) > 0.5


def test_where_it_does_not_fire_the_logits_are_the_roots_bit_for_bit_and_elsewhere_those_of_its_head() -> None:
    (kind,), root, model = found()[1], small_model(), conceived()
    images = torch.cat([*unseen()])
    other = copy.deepcopy(root)
    other.load_state_dict({**other.state_dict(), **kind.replaced})
    with torch.no_grad():
        fires, now = fired(model, images) >= 0, model(images)
        assert 0 < int(fires.sum()) < len(images) / 2
        assert torch.equal(now[~fires], root(images)[~fires])
        torch.testing.assert_close(now[fires], other(images)[fires])


def test_the_threshold_is_exceeded_on_no_more_calibration_images_than_alpha_says() -> None:
    state, (kind,) = found()
    calibration = control()[1]
    count = int((fired(conceived(), calibration) == 0).sum())
    assert count <= FINDER.settings.concept.alpha * (len(calibration) + 1)
    assert kind.firing == pytest.approx(count / len(calibration))
    assert state.concepts is not None and state.sight is None


def test_the_same_corrections_give_the_same_bytes_in_any_order() -> None:
    state, (kind,) = found()
    (again,) = FINDER.find(small_model(), tuple(reversed(claims())), state)
    assert again.fitted == kind.fitted and torch.equal(again.weight, kind.weight)
    assert all(torch.equal(again.replaced[name], value) for name, value in kind.replaced.items())


def both() -> EditableModel:
    """The small model with the kind of pale images and that of the concept."""
    state, kinds = pale.found()
    other, concepts = found()
    merged = type(state)(state.sight, state.layers, state.reference, other.concepts)
    return with_kinds(small_model(), (*kinds, *concepts), merged)


def test_both_sorts_of_kind_act_side_by_side_and_are_saved(tmp_path: Path) -> None:
    model, mine, pictures = both(), unseen()[0], pale.pale_images(20, seed=51)[0]
    assert set(fired(model, pictures).tolist()) == {0}
    with torch.no_grad():
        torch.testing.assert_close(model(pictures), pale.kinded()(pictures))
        alone = fired(model, mine) == 1
        assert float(alone.double().mean()) > 0.6
        torch.testing.assert_close(model(mine)[alone], conceived()(mine)[alone])
        save_model(model, tmp_path)
        again = load_model(tmp_path)
        assert again.spec == model.spec and torch.equal(again(mine), model(mine))


def test_slots_look_at_the_same_directions_and_hold_what_it_does_not() -> None:
    root, model = small_model(), conceived()
    editor = CalibratedPatch(alpha=0.1, views=VIEWS)
    chosen = [each for each in claims() if int(classes(model, each.image[None])) != CLAIMED][:2]
    result = editor.edit(model, chosen, editor.prepare(root, *control()))
    assert chosen and result.success, result.reason
    images = torch.cat([*unseen()])
    assert fired(result.model, images).tolist() == fired(model, images).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("make", [conceived, both])
def test_the_exported_file_is_the_model_and_its_bytes_repeat(make: object) -> None:
    assert callable(make)
    model, root = make(), onnx_bytes(small_model(), {})
    content = onnx_bytes(model, {"errata.version": "2"})
    images = torch.cat([unseen()[0][:20], unseen()[1][:40], pale.pale_images(10, seed=52)[0]])
    was, now = (OnnxClassifier(each).predict(images.numpy()) for each in (root, content))
    with torch.no_grad():
        np.testing.assert_allclose(now.logits, model(images).numpy(), atol=1e-5)
    assert now.kind.tolist() == fired(model, images).tolist()
    silent = now.kind < 0
    assert silent.any() and (~silent).any()
    assert now.logits[silent].tobytes() == was.logits[silent].tobytes()
    assert onnx_bytes(make(), {"errata.version": "2"}) == content
    assert apply_delta(root, make_delta(root, content)) == content


def test_no_concept_is_looked_for_unless_it_is_asked_for() -> None:
    state, kinds = pale.found()
    assert state.concepts is None and not any(isinstance(each, Kind) and each.concept for each in kinds)
