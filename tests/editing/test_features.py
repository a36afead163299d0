"""Features that are kept are those that would be computed, for the same backbone alone; editors do not notice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from errata.editing.batches import BLOCK
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import FEATURES, Features, Layer, after_the_backbone, backbone_digest
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from errata.editing.views import fitting_views
from tests.editing.models import small_images, small_model

VIEWS = ViewSettings(fitting=4, unseen=3)
IMAGES = small_images(BLOCK + 40)


@dataclass
class Memory:
    """Keeps blocks in a mapping, and counts what was asked for and there."""

    blocks: dict[str, bytes] = field(default_factory=dict)
    hits: int = 0

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = {key: self.blocks[key] for key in keys if key in self.blocks}
        self.hits += len(found)
        return found

    def put(self, blocks: Mapping[str, bytes]) -> None:
        self.blocks.update(blocks)


def drawn_once(image: Tensor, settings: ViewSettings, seed: int) -> Tensor:
    """Views of images that were not drawn before."""
    key = bytes(image.flatten().tolist())
    assert key not in SEEN
    SEEN.add(key)
    return fitting_views(image, settings, seed)


SEEN: set[bytes] = set()


def test_what_is_kept_is_what_is_computed_and_is_computed_once() -> None:
    model, memory, calls = small_model(), Memory(), list[int]()

    def counted(some: EditableNetwork, images: Tensor) -> Tensor:
        calls.append(len(images))
        return some.features(images)

    features = Features(memory, backbone_digest(model))
    layer = Layer("counted", counted)
    with torch.no_grad():
        expected = torch.cat([model.features(IMAGES[:BLOCK]), model.features(IMAGES[BLOCK:])])
    for _ in range(2):
        assert torch.equal(features.of(model, IMAGES, layer), expected)
    assert calls == [BLOCK, 40]
    assert torch.equal(features.of(model, IMAGES[:BLOCK], layer), expected[:BLOCK])
    assert calls == [BLOCK, 40]  # a block is known wherever it comes up


def test_views_that_are_known_are_not_drawn_again() -> None:
    model, SEEN_BEFORE = small_model(), len(SEEN)
    features = Features(Memory(), backbone_digest(model))
    with torch.no_grad():
        expected = torch.stack([model.features(fitting_views(image, VIEWS, 5)) for image in IMAGES[:6]])
    for images in (IMAGES[:4], IMAGES[2:6], IMAGES[:6]):
        found = features.of_views(model, images, drawn_once, VIEWS, 5)
        assert found.shape == (len(images), VIEWS.fitting, expected.shape[2])
    assert torch.equal(found, expected)
    assert len(SEEN) == SEEN_BEFORE + 6
    other = features.of_views(model, IMAGES[:1], fitting_views, VIEWS, 6)  # another seed: other views
    assert not torch.equal(other[0], expected[0])


def test_only_the_backbone_that_it_was_made_for_is_served() -> None:
    model, memory = small_model(), Memory()
    features = Features(memory, backbone_digest(model))
    features.of(model, IMAGES[:5])
    for change in ("weight", "buffer"):
        other = small_model()
        with torch.no_grad():
            tensors = other.backbone.parameters() if change == "weight" else other.backbone.buffers()
            next(each for each in tensors if each.is_floating_point()).add_(0.1)
            assert torch.equal(features.of(other, IMAGES[:5]), other.features(IMAGES[:5]))
        assert not after_the_backbone(other, model)
    assert (memory.hits, len(memory.blocks)) == (0, 1)
    headless = small_model()
    with torch.no_grad():
        headless.head.weight.add_(1.0)
    features.of(headless, IMAGES[:5])
    assert memory.hits == 1
    assert after_the_backbone(headless, model)
    assert backbone_digest(replace_mean(model)) != backbone_digest(model)  # preprocessing counts


def replace_mean(model: EditableModel) -> EditableModel:
    changed = small_model()
    changed.spec = replace(model.spec, mean=tuple(value + 0.1 for value in model.spec.mean))
    return changed


@pytest.mark.parametrize(
    "editor",
    [CalibratedPatch(views=VIEWS), NaturalGradient(Scope("head"), views=VIEWS), NaturalGradient(Scope("chain4"))],
    ids=["patch", "head", "chain4"],
)
def test_an_editor_gives_the_same_bits_with_and_without(editor: CalibratedPatch | NaturalGradient) -> None:
    model, memory = small_model(slots=16), Memory()
    with torch.no_grad():
        wrong = (model(IMAGES[:6]).argmax(1) + 1) % len(model.spec.classes)
    constraints = [Constraint(IMAGES[one], int(wrong[one]), f"{one}") for one in range(6)]
    found = []
    for features in (Features(), *[Features(memory, backbone_digest(model))] * 2):
        tool = replace(editor, features=features)
        result = tool.edit(model, constraints, tool.prepare(model, IMAGES[:200], IMAGES[100:]))  # type: ignore[arg-type]
        found.append((result.holds, result.model.state_dict()))
    for holds, state in found[1:]:
        assert holds == found[0][0]
        assert all(torch.equal(value, found[0][1][name]) for name, value in state.items())
    assert bool(memory.hits) == (FEATURES in memory_layers(editor))


def memory_layers(editor: CalibratedPatch | NaturalGradient) -> tuple[Layer, ...]:
    """Only what comes after the last stage is kept."""
    return () if isinstance(editor, NaturalGradient) and editor.scope != Scope("head") else (FEATURES,)
