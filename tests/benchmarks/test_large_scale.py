"""Photos in disjoint parts, features computed once, and an edit on features judged as the whole network would be."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.large_scale.bench import Case, KnownViews, OnFeatures, judge
from benchmarks.large_scale.photos import PARTS, features_of, split_photos
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import DataError
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model


def test_parts_are_disjoint_and_features_are_computed_once(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for name in ("b", "a"):
        (tmp_path / "photos" / name / "images").mkdir(parents=True)
        for number in range(12):
            pixels = drawn.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / "images" / f"{number}.png")
    classes, parts = split_photos(tmp_path / "photos", (4, 2, 2, 3, 1))
    assert classes == ("a", "b") and tuple(parts) == PARTS
    paths = [path for part in parts.values() for path in part.paths]
    assert len(paths) == len(set(paths)) == 24
    assert [len(parts[part].labels) for part in PARTS] == [8, 4, 4, 6, 2]
    for part in parts.values():
        assert [classes[label] for label in part.labels] == [path.parent.parent.name for path in part.paths]
    with pytest.raises(DataError, match="12 photos of 13"):
        split_photos(tmp_path / "photos", (4, 2, 2, 4, 1))
    spec = ModelSpec("resnet", classes, (8, 8, 3), (0.4,) * 3, (0.3,) * 3, {"width": 4, "blocks": 1}, 1)
    root, train = EditableModel.from_spec(spec).eval(), parts["train"]
    found = features_of(root, train, 8, "weights", tmp_path / "kept")
    whole = torch.stack([train.image(row, 8) for row in range(8)])
    torch.testing.assert_close(found, root.features(whole).detach())
    other = EditableModel.from_spec(spec).eval()  # would give other features
    assert torch.equal(features_of(other, train, 8, "weights", tmp_path / "kept"), found)
    assert not torch.equal(features_of(other, train, 8, "others", tmp_path / "kept"), found)


def test_an_edit_on_features_is_the_edit_of_the_network() -> None:
    network, images, labels = small_model(), small_images(60), torch.arange(60) % 4
    with torch.no_grad():
        features, predicted = network.features(images), network(images).argmax(1)
    root, target = OnFeatures.of(network), int((predicted[0] + 1) % 4)
    control = Control(root, features[1:, :, None, None], labels[1:])
    case = Case("0", target, features[0], features[:3], features[3:5], features[5:9], features[9:12])
    editor = NaturalGradient(Scope("head"), images=60)
    state = editor.prepare(root, features[:, :, None, None], features[:, :, None, None])
    found = judge(lambda one: editor.edit(root, one.constraints(views=False), state), case, control, 10)
    same = editor.edit(network, [Constraint(images[0], target)], editor.prepare(network, images, images)).model
    with torch.no_grad():
        after = same(images).argmax(1)
    assert found.success and 1 <= found.steps <= 10 and found.n == 59 and not found.already
    assert found.negative_flips == int(((predicted == labels) & (after != labels))[1:].sum())
    assert found.positive_flips == int(((predicted != labels) & (after == labels))[1:].sum())
    assert found.unseen == float((after[3:5] == target).float().mean())
    assert found.families == float((after[5:9] == target).float().mean())
    assert found.others == pytest.approx(float((after[9:12] == target).float().mean())) and found.others_n == 3


def test_a_patch_fits_the_views_that_are_known() -> None:
    network, images = small_model(), small_images(80)
    with torch.no_grad():
        features = network.features(images)
    root = OnFeatures.of(network)
    rows = features[:, :, None, None]
    case = Case("0", int(root(rows[:1]).argmin()), features[0].clone(), features[:3], *3 * [features[:1]])
    editor = CalibratedPatch(alpha=0.5, views=ViewSettings(fitting=3), tau=0.0, features=KnownViews([case]))
    result = editor.edit(root, case.constraints(views=False), editor.prepare(root, rows[40:], rows[40:]))
    assert result.success and len(result.slots) == 1
    assert [len(case.constraints(views=flag)) for flag in (False, True)] == [1, 3]
