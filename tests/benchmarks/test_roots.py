"""Roots that a user brings are read either way, and an edit is judged on images that it is not about."""

from pathlib import Path

import pytest
import torch

from benchmarks.cifar10.data import VIEWS, Images
from benchmarks.cifar10.resnet import cifar_resnet, read_root
from benchmarks.cifar10.roots import Bench, Row, measured, page
from benchmarks.kinds.images import Parts
from benchmarks.large_scale.other_views import other_views
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import ModelError
from errata.editing.model import EditableModel, ModelSpec, save_model
from errata.editing.rules import Polyak
from errata.editing.scopes import Scope
from errata.editing.studies.grace import Grace
from errata.editing.training.plain import predict
from errata.editing.types import Constraint
from errata.editing.views import unseen_views

POLYAK = GradientEditor(Polyak(), Scope("head"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """An untrained network of ten classes on small colour images."""
    torch.manual_seed(0)
    classes = tuple("0123456789")
    spec = ModelSpec("resnet", classes, (8, 8, 3), (0.5,) * 3, (0.3,) * 3, {"width": 4, "blocks": 1}, 2)
    drawn = torch.Generator().manual_seed(1)
    parts = (
        Images(
            torch.randint(0, 256, (count, 8, 8, 3), generator=drawn, dtype=torch.uint8),
            torch.randint(10, (count,), generator=drawn),
        )
        for count in (8, 60, 60, 50)
    )
    return Bench("small", EditableModel.from_spec(spec).eval(), Parts(*parts), tmp_path, 3)


def test_a_root_that_a_user_brings(bench: Bench, tmp_path: Path) -> None:
    images = bench.parts.control.images
    save_model(bench.root, tmp_path / "saved")
    assert torch.equal(predict(read_root(str(tmp_path / "saved")), images), predict(bench.root, images))
    backbone, head = cifar_resnet(10, (32, 32, 3), blocks=1)
    state = {**backbone.state_dict(), **{f"linear.{name}": value for name, value in head.state_dict().items()}}
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "resnet8.th")
    found = read_root(f"{tmp_path / 'resnet8.th'}:1")
    assert torch.equal(found.head.weight, head.weight) and found.spec.arguments == {"blocks": 1}
    with pytest.raises(ModelError):
        read_root(str(tmp_path / "resnet8.th"))  # how many blocks a chain has?


def test_last_chain_and_last_block(bench: Bench) -> None:
    assert (bench.chain, bench.block) == ("chain4", "chain4.0")


def test_an_edit_is_judged_on_images_that_it_is_not_about(bench: Bench) -> None:
    outcomes = measured(bench, Row("Polyak, head", lambda _: POLYAK))
    control = bench.parts.control
    before = predict(bench.root, control.images).argmax(1)
    for demand, outcome in zip(bench.demands, outcomes, strict=True):
        image = bench.parts.pool.images[demand.image]
        model = POLYAK.edit(bench.root, [Constraint(image, demand.expected, "")], GradientState()).model
        after = predict(model, control.images).argmax(1)
        assert outcome.n == 50
        assert outcome.negative_flips == int(((before == control.labels) & (after != control.labels)).sum())
        assert outcome.positive_flips == int(((before != control.labels) & (after == control.labels)).sum())
        assert outcome.success == bool(predict(model, image[None]).argmax() == demand.expected)
        for share, views in ((outcome.unseen, unseen_views(image, VIEWS)), (outcome.families, other_views(image))):
            assert share == pytest.approx(float((predict(model, views).argmax(1) == demand.expected).float().mean()))


def test_rows_are_kept_and_told(bench: Bench) -> None:
    rows = [Row("codebook", lambda _: Grace(0.1)), Row("patch", lambda _: CalibratedPatch(views=VIEWS))]
    found = [measured(bench, row) for row in rows]
    assert [measured(bench, Row(row.name, row.editor)) for row in rows] == found  # not edited again: same seconds
    bench.cache.joinpath("tuned").mkdir()
    bench.cache.joinpath("tuned", f"{bench.digest}.json").write_text('{"rule": {"learning_rate": 0.5}}')
    text = page([bench], [[(row.name, outcomes) for row, outcomes in zip(rows, found, strict=True)]], "A note.")
    errors = predict(bench.root, bench.parts.control.images).argmax(1) != bench.parts.control.labels
    assert f"## small: {float(errors.float().mean()):.2%} of the control images wrong" in text
    assert text.count("\n| codebook |") == text.count("\n| patch |") == 1
