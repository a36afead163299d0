"""Thousands of corrections: of mistakes through corruptions, judged on other images, on which they were not fitted."""

from pathlib import Path

import pytest
import torch

from benchmarks.cifar10.data import VIEWS, Images
from benchmarks.cifar10.many import AS_THEY_ARE, SEEN_THROUGH, Many
from benchmarks.large_scale.other_views import other_views
from errata.data.kept_blocks import KeptBlocks
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import Features, backbone_digest
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.training.plain import predict
from errata.editing.types import Constraint
from errata.editing.views import unseen_views


def test_judged_on_other_images_of_both_sorts_and_on_views_of_both_sorts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec("resnet", tuple("0123456789"), (8, 8, 3), (0.5,) * 3, (0.3,) * 3, {"width": 4, "blocks": 1}, 4)
    root = EditableModel.from_spec(spec).eval()
    drawn = torch.Generator().manual_seed(1)

    def images(count: int) -> Images:
        found = torch.randint(0, 256, (count, 8, 8, 3), generator=drawn, dtype=torch.uint8)
        return Images(found, torch.randint(10, (count,), generator=drawn))

    pool, control, judged = images(30), images(120), {AS_THEY_ARE: images(40), SEEN_THROUGH: images(40)}
    wrong = (predict(root, pool.images).argmax(1) != pool.labels).nonzero()[:, 0]
    kept = Features(KeptBlocks(tmp_path / "features.sqlite"), backbone_digest(root))
    many = Many(root, control.images[:60], control.images[60:], control.images[:0], pool, judged, kept, wrong)
    editor = CalibratedPatch(views=VIEWS, alpha=0.2, tau=0.0)  # random images are hard to tell apart
    state = editor.prepare(root, many.reference, many.calibration)
    found = many.run(editor, state, 3, 0)
    drawn_again = torch.randperm(len(wrong), generator=torch.Generator().manual_seed(3))
    chosen = wrong[drawn_again[:3]].tolist()
    model = editor.edit(
        root, [Constraint(pool.images[one], int(pool.labels[one]), f"{one:05}") for one in chosen], state
    ).model
    for name, known in judged.items():
        before, after = (predict(each, known.images).argmax(1) for each in (root, model))
        right, still = before == known.labels, after == known.labels
        assert (found[name].judged, found[name].k) == (40, 3)
        assert found[name].negative_flips == int((right & ~still).sum())
        assert found[name].positive_flips == int((~right & still).sum())
        sorts = ((found[name].shares, lambda one: unseen_views(one, VIEWS)), (found[name].families, other_views))
        for shares, make in sorts:
            expected = [
                float((predict(model, make(pool.images[one])).argmax(1) == pool.labels[one]).float().mean())
                for one in chosen
            ]
            assert shares == pytest.approx(expected)
    assert found[AS_THEY_ARE].held and any(one.negative_flips + one.positive_flips for one in found.values())
