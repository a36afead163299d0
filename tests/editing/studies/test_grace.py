"""The codebook: what fires against distances in numpy, and keys that widen and split."""

import numpy as np
import pytest
import torch

from errata.editing.errors import DataError, ModelError
from errata.editing.studies.grace import Codebook, CodebookModel, Grace
from errata.editing.studies.protocol import Control, draw_demands, run_protocol
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

IMAGES = small_images(200, 3)


def test_without_keys_it_is_the_network() -> None:
    plain = small_model()
    assert torch.equal(CodebookModel(plain, 4)(IMAGES), plain(IMAGES))


def test_only_images_within_the_radius_change() -> None:
    plain, image = small_model(), IMAGES[0]
    root = CodebookModel(plain, 4)
    target = int(root(image[None]).argmin())
    result = Grace(radius=0.6).edit(root, [Constraint(image, target)], Grace(radius=0.6).prepare(root, IMAGES, IMAGES))
    assert result.success and 1 <= result.steps <= 10
    with torch.no_grad():
        features = plain.features(IMAGES).double().numpy()
        radius = 0.6 * np.median([np.linalg.norm(a - b) for i, a in enumerate(features) for b in features[:i]])
        near = np.linalg.norm(features - features[0], axis=1) <= radius
        old, new = plain(IMAGES), result.model(IMAGES)
    assert 2 <= near.sum() < 150  # so that both cases are there
    assert torch.equal(new[~near], old[~near])
    assert bool((new[near] == new[0]).all()) and bool((new[near].argmax(1) == target).all())
    others = torch.cat([new[0, :target], new[0, target + 1 :]])
    assert float(new[0, target] - others.max()) + 1e-4 >= 2.0
    assert torch.equal(root(IMAGES), old)  # the root is as it was


def book() -> Codebook:
    return Codebook(torch.nn.Linear(2, 3), 3)


def test_a_ball_widens_for_the_same_class_and_splits_for_another() -> None:
    value = torch.tensor([1.0, 2.0])
    kept = book()
    assert kept.keep(torch.tensor([0.0, 0.0]), value, 1, 2.0)
    assert kept.keep(torch.tensor([3.0, 0.0]), value, 1, 2.0)  # the balls would meet: one of radius 3
    assert kept.radius.tolist() == [3.0, -1.0, -1.0]
    assert kept.keep(torch.tensor([0.0, 2.0]), value, 0, 2.0)  # another class, inside: both get 1
    assert kept.radius.tolist() == [1.0, 1.0, -1.0] and kept.label.tolist() == [1, 0, -1]
    assert kept.keep(torch.tensor([9.0, 0.0]), value, 2, 2.0)  # far from all
    assert kept.radius.tolist() == [1.0, 1.0, 2.0]
    assert not kept.keep(torch.tensor([-9.0, 0.0]), value, 2, 2.0)  # no room
    looked_at = torch.tensor([[0.0, 0.9], [0.0, 1.1], [1.5, 0.0], [8.0, 1.0]])
    distance, key = kept.nearest(looked_at)
    assert key.tolist() == [0, 1, 0, 2]
    np.testing.assert_allclose(distance, [0.9, 0.9, 1.5, np.sqrt(2)], rtol=1e-6)


def test_many_corrections_and_the_protocol() -> None:
    root = CodebookModel(small_model(), 8)
    editor = Grace(radius=0.05)
    state = editor.prepare(root, IMAGES, IMAGES)
    joint = [Constraint(image, (int(root(image[None]).argmax()) + 1) % 4) for image in IMAGES[:6]]
    result = editor.edit(root, joint, state)
    assert result.success and result.holds == (True,) * 6
    too_many = editor.edit(CodebookModel(small_model(), 2), joint, state)
    assert not too_many.success and "no key is left" in too_many.reason
    control = Control(root, IMAGES, torch.arange(200) % 4)
    assert all(one.success for one in run_protocol(editor, state, control, draw_demands(5, 200, 4, 0)))


def test_a_network_without_a_codebook_is_refused() -> None:
    with pytest.raises(ModelError, match="CodebookModel"):
        Grace().prepare(small_model(), IMAGES, IMAGES)
    with pytest.raises(DataError, match="no distance"):
        Grace().prepare(CodebookModel(small_model(), 2), IMAGES[:1], IMAGES)
