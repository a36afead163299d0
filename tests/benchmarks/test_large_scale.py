"""Photos in disjoint parts, features computed once, and an edit on features judged as the whole network would be."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.large_scale.__main__ import main
from benchmarks.large_scale.bench import Case, FoldedControl, KnownViews, OnFeatures, judge
from benchmarks.large_scale.photos import PARTS, features_of, split_photos
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import DataError
from errata.editing.model import EditableModel, ModelSpec, save_model
from errata.editing.rules import Polyak
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model


def write_photos(folder: Path, classes: Sequence[str], count: int) -> None:
    drawn = np.random.default_rng(0)
    for name in classes:
        (folder / name / "images").mkdir(parents=True)
        for number in range(count):
            pixels = drawn.integers(0, 256, (9, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / "images" / f"{number}.png")


def test_parts_are_disjoint_and_features_are_computed_once(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", ("b", "a"), 12)
    classes, parts = split_photos(tmp_path / "photos", (4, 2, 2, 3, 1))
    assert classes == ("a", "b") and tuple(parts) == PARTS
    paths = [path for part in parts.values() for path in part.paths]
    assert len(paths) == len(set(paths)) == 24
    assert [len(parts[part].labels) for part in PARTS] == [8, 4, 4, 6, 2]
    for part in parts.values():
        assert [classes[label] for label in part.labels] == [path.parent.parent.name for path in part.paths]
    assert (
        parts["train"].thinned(3).labels.tolist() == [0, 0, 1] and parts["pool"].thinned(9).paths == parts["pool"].paths
    )
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
    assert found.others == pytest.approx(float((after[9:12] == target).float().mean()))


@pytest.mark.parametrize("scope", ["adapter", "head"])
def test_a_folded_adapter_gives_the_logits_of_the_whole(scope: str) -> None:
    network, images, labels = small_model(), small_images(60), torch.arange(60) % 4
    with torch.no_grad():
        rows = network.features(images)[:, :, None, None]
    root = OnFeatures.of(network).adapted(6)
    for layer in root.backbone.parameters():
        torch.nn.init.normal_(layer, std=0.3, generator=torch.Generator().manual_seed(1))
    control = FoldedControl(root, rows, labels)
    torch.testing.assert_close(control.root_logits, root(rows).detach())
    editor = GradientEditor(Polyak(), Scope(scope))
    target = int(control.root_logits[0].argmin())
    edited = editor.edit(root, [Constraint(rows[0], target)], editor.prepare(root, rows, rows)).model
    found = control.logits(edited)
    torch.testing.assert_close(found, edited(rows).detach())
    assert int(found[0].argmax()) == target != int(control.root_logits[0].argmax())


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


@pytest.mark.slow  # trains twice and makes some forty edits
def test_the_command_goes_on_where_it_stopped_and_writes_its_page(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", ("a", "b", "c"), 40)
    torch.manual_seed(0)
    spec = ModelSpec("resnet", ("a", "b", "c"), (8, 8, 3), (0.4,) * 3, (0.3,) * 3, {"width": 4, "blocks": 1}, 1)
    save_model(EditableModel.from_spec(spec).eval(), tmp_path / "model")
    polyak = ("plain, Polyak, adapter", "editable, Polyak, adapter")
    asked = ["--root", str(tmp_path / "photos"), "--model", str(tmp_path / "model"), "--cache", str(tmp_path / "cache")]
    asked += ["--out", str(tmp_path / "out"), "--page", "rows", "--side", "8", "--sizes", "8", "8", "8", "8", "8"]
    asked += ["--adapter", "4", "--epochs", "1", "--seeds", "0", "1", "--views", "2"]
    main([*asked, "--edits", "3", "--only", "Polyak, head", *polyak])
    rows = sorted((tmp_path / "cache" / "rows").iterdir())
    assert len(rows) == 12 and {len(path.read_text().splitlines()) for path in rows} == {4}
    before = [path.read_text() for path in rows]
    main([*asked, "--edits", "5", "--only", "Polyak, head", "calibrated patch"])
    page = (tmp_path / "out" / "rows.md").read_text()
    for name in ("Polyak, head", "calibrated patch", *polyak):
        assert page.count(f"| {name} |") == 4, "a line for each sort in the tables, and one in the spread"
    assert len(re.findall(r"^\| (Random labels|Natural mistakes) \| Polyak, adapter \| [1-3] \|", page, re.M)) == 2
    for path, old in zip(rows, before, strict=True):
        assert path.read_text().startswith(old), "edits that were made are not made again"
    assert (tmp_path / "out" / "rows.png").stat().st_size > 10_000
