from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.rules import GradientDescent
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.sequential import Sequential
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

REFERENCE = small_images(200, 7)


def test_each_edit_starts_where_the_last_ended_and_the_end_is_what_counts() -> None:
    model, images = small_model(), small_images(6)
    editor = GradientEditor(GradientDescent(1.0), Scope("head"), 30)
    constraints = [Constraint(image, index % 2, f"{index}") for index, image in enumerate(images)]
    state = editor.prepare(model, REFERENCE, REFERENCE)
    by_hand, steps, at_once = model, 0, []
    for constraint in constraints:
        result = editor.edit(by_hand, [constraint], state)
        by_hand, steps = result.model, steps + result.steps
        at_once.append(result.success)
    found = Sequential(editor).edit(model, list(reversed(constraints)), state)  # keys give the order, not the list
    at_the_end = [int(by_hand(one.image[None]).argmax()) == one.expected for one in reversed(constraints)]
    assert list(found.holds) == at_the_end and found.steps == steps
    assert all(at_once) and not all(at_the_end), "large steps on the head undo one another, or the test shows nothing"
    assert "at the end; 0 never did" in found.reason
    assert editor.edit(model, constraints, state).success, "all at once they hold"


def test_a_patch_fills_one_slot_after_the_other() -> None:
    model, images = small_model(), small_images(3)
    views = ViewSettings(fitting=5, max_shift=0.13)
    editor = Sequential(CalibratedPatch(alpha=0.1, views=views))
    expected = [int(model(image[None]).argsort(1)[0, -2]) for image in images]
    constraints = [Constraint(*pair, f"{index}") for index, pair in enumerate(zip(images, expected, strict=True))]
    result = editor.edit(model, constraints, editor.prepare(model, REFERENCE, REFERENCE))
    assert [slot.slot for slot in result.slots] == [0, 1, 2]
    assert result.model.patch.value.abs().amax(1).nonzero()[:, 0].tolist() == [0, 1, 2]
