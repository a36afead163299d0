import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch.func import functional_call

from errata.editing.editors.patch import CalibratedPatch
from errata.editing.kinds.find import KindFinder, with_kinds
from errata.editing.model import load_model, save_model
from errata.editing.network import BareTail
from errata.editing.scopes import before
from errata.editing.settings import KindSettings, ViewSettings
from errata.editing.types import Constraint
from tests.editing.kinds.pale import (
    CALIBRATION,
    FINDER,
    REFERENCE,
    classes,
    fired,
    found,
    kinded,
    mistakes,
    pale_images,
)
from tests.editing.models import small_images, small_model


def test_one_kind_is_found_and_its_detector_knows_it() -> None:
    (kind,) = found()[1]
    model, (pictures, _) = kinded(), pale_images(200, seed=31)
    assert kind.firing == 0 and len(kind.fitted) >= FINDER.settings.members
    with torch.no_grad():
        assert bool((fired(model, pictures) == 0).all())
        assert float((fired(model, small_images(500, seed=32)) == -1).double().mean()) > 0.98


def test_other_images_of_the_kind_get_right() -> None:
    images, labels = pale_images(400, seed=33)
    before = float((classes(small_model(), images) != labels).double().mean())
    after = float((classes(kinded(), images) != labels).double().mean())
    assert before > 0.2 and after < 0.7 * before


def test_where_no_kind_fires_the_logits_are_the_roots_bit_for_bit() -> None:
    model, root = kinded(), small_model()
    images = torch.cat([small_images(60, seed=34), pale_images(20, seed=35)[0]])
    with torch.no_grad():
        fires = fired(model, images) >= 0
        now, was = model(images), root(images)
    assert 20 <= int(fires.sum()) < 30
    assert torch.equal(now[~fires], was[~fires])
    assert bool((now[fires] != was[fires]).any(1).all())


def test_where_it_fires_the_logits_are_those_of_the_network_with_its_tensors_in_place() -> None:
    model, images = kinded(), pale_images(10, seed=36)[0]
    assert model.kinds is not None
    whole = copy.deepcopy(small_model())
    whole.load_state_dict({**whole.state_dict(), **model.kinds.replaced_by(0)})
    with torch.no_grad():
        torch.testing.assert_close(model(images), whole(images))


def test_the_same_corrections_give_the_same_bytes_in_any_order_whatever_was_random() -> None:
    torch.manual_seed(99)
    state, (kind,) = found()
    (again,) = FINDER.find(small_model(), tuple(reversed(mistakes())), state)
    assert (again.fitted, again.firing) == (kind.fitted, kind.firing)
    assert torch.equal(again.weight, kind.weight) and torch.equal(again.threshold, kind.threshold)
    assert all(torch.equal(again.replaced[name], value) for name, value in kind.replaced.items())


def test_held_out_corrections_have_no_part_in_it() -> None:
    state, (kind,) = found()
    held_out = {each.key for each in mistakes() if FINDER.held_out(each.key)}
    assert not held_out & set(kind.fitted)
    assert 0.15 < len(held_out) / len(mistakes()) < 0.45
    # another class for each of them changes nothing
    changed = [replace(each, expected=(each.expected + 1) % 4) if each.key in held_out else each for each in mistakes()]
    (again,) = FINDER.find(small_model(), changed, state)
    assert all(torch.equal(again.replaced[name], value) for name, value in kind.replaced.items())


def test_one_that_is_not_worth_it_is_the_same_kind_without_a_change() -> None:
    state, (kind,) = found()
    asked = []

    def worth(held_out: int, kinds: int) -> bool:
        asked.append((held_out, kinds))
        return False

    (plain,) = FINDER.find(small_model(), mistakes(), state, worth=worth)
    assert plain.replaced == {} and (plain.fitted, plain.firing) == (kind.fitted, kind.firing)
    assert torch.equal(plain.weight, kind.weight) and torch.equal(plain.threshold, kind.threshold)
    fires = {each.key for each in mistakes() if int(fired(kinded(), each.image[None])) == 0}
    assert set(plain.held_out) == {key for key in fires if FINDER.held_out(key)}
    assert asked == [(len(plain.held_out), 1)]


def test_too_few_stay_pictures_and_so_do_those_without_anything_in_common() -> None:
    state, _ = found()
    assert FINDER.find(small_model(), mistakes()[:10], state) == ()
    ordinary = [replace(each, image=image) for each, image in zip(mistakes(), small_images(200, seed=37), strict=False)]
    strict = replace(
        FINDER, settings=FINDER.settings.model_copy(update={"members": 12})
    )  # of 8 some are alike by chance
    assert strict.find(small_model(), ordinary, state) == ()
    assert with_kinds(kinded(), (), state).kinds is None


def test_slots_on_top_of_a_kind_hold_what_it_does_not() -> None:
    root, model = small_model(), kinded()
    editor = CalibratedPatch(alpha=0.1, views=ViewSettings(fitting=5))
    wrong = [each for each in mistakes() if int(classes(model, each.image[None])) != each.expected][:1]
    ordinary = [
        Constraint(image, (int(classes(root, image[None])) + 1) % 4, f"ordinary {number}")
        for number, image in enumerate(small_images(3, seed=43))
    ]
    mended = [each for each in mistakes() if int(classes(model, each.image[None])) == each.expected][:1]
    result = editor.edit(model, [*wrong, *ordinary, *mended], editor.prepare(root, REFERENCE, CALIBRATION))
    assert result.success, result.reason
    assert [int(classes(result.model, each.image[None])) for each in (*wrong, *ordinary, *mended)] == [
        each.expected for each in (*wrong, *ordinary, *mended)
    ]
    assert {slot.key for slot in result.slots} >= {each.key for each in (*wrong, *ordinary)}


def test_a_saved_model_keeps_its_kinds(tmp_path: Path) -> None:
    model = kinded()
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.spec == model.spec
    images = pale_images(5, seed=38)[0]
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_a_network_that_is_no_sequence_of_stages_has_kinds_of_its_head() -> None:
    root = small_model()
    whole = torch.nn.Module()
    whole.inner = root.backbone
    whole.forward = root.backbone.forward
    root.backbone = whole
    finder = KindFinder(KindSettings(steps=5, batch_norm_share=0.0), ViewSettings(fitting=2))
    state = finder.prepare(root, REFERENCE, CALIBRATION)
    assert state.layers.names == ("head.weight", "head.bias")
    model = with_kinds(root, finder.find(root, mistakes(), state), state)
    images = small_images(5, seed=39)
    with torch.no_grad():
        torch.testing.assert_close(model(images), root(images))


def test_tail_is_the_model_from_a_stage_on() -> None:
    model, images = small_model(), small_images(4)
    with torch.no_grad():
        hidden = before(model, images, 2)
        torch.testing.assert_close(
            functional_call(BareTail(model.backbone, model.head, 2), {}, (hidden,)), model(images)
        )
