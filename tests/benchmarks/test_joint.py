"""Joint corrections are judged on all images but the corrected ones, and on views of both sorts."""

import pytest
import torch

from benchmarks.cifar10.data import VIEWS, Cifar10, Images
from benchmarks.cifar10.joint import Joint
from benchmarks.large_scale.other_views import other_views
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.rules import Polyak
from errata.editing.scopes import Scope
from errata.editing.training.plain import predict
from errata.editing.types import Constraint
from errata.editing.views import unseen_views

EDITOR = GradientEditor(Polyak(), Scope("head"))


def test_judged_on_other_images_and_on_views_of_both_sorts() -> None:
    torch.manual_seed(0)
    spec = ModelSpec("resnet", tuple("0123456789"), (8, 8, 3), (0.5,) * 3, (0.3,) * 3, {"width": 4, "blocks": 1}, 2)
    root = EditableModel.from_spec(spec).eval()
    drawn = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (40, 8, 8, 3), generator=drawn, dtype=torch.uint8)
    known = Images(images, predict(root, images).argmax(1))
    known.labels[::2] = torch.randint(10, (20,), generator=drawn)
    joint = Joint.of(root, Cifar10(known, known, known))
    before = predict(root, images).argmax(1)
    assert torch.equal(joint.wrong, (before != known.labels).nonzero()[:, 0]) and len(joint.wrong) > 4

    outcome = joint.run(EDITOR, GradientState(), 2, 0)
    chosen = joint.draw(2, 0).tolist()
    model = EDITOR.edit(
        root, [Constraint(images[one], int(known.labels[one]), str(one)) for one in chosen], GradientState()
    ).model
    after, rest = predict(model, images).argmax(1), [one for one in range(40) if one not in chosen]
    right, still = (each[rest] == known.labels[rest] for each in (before, after))
    assert (outcome.judged, outcome.negative_flips) == (38, int((right & ~still).sum()))
    assert outcome.positive_flips == int((~right & still).sum())
    for found, make in ((outcome.shares, lambda one: unseen_views(one, VIEWS)), (outcome.families, other_views)):
        expected = [
            float((predict(model, make(images[one])).argmax(1) == known.labels[one]).float().mean()) for one in chosen
        ]
        assert found == pytest.approx(expected)
