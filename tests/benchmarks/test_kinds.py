"""The benchmark of kinds: its network is the paper's, its parts are disjoint, what it skips would change nothing."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.cifar10.data import Images
from benchmarks.cifar10.resnet import PaddedShortcut, load_resnet
from benchmarks.kinds.__main__ import Bench, Row
from benchmarks.kinds.images import UNSEEN, Parts
from errata.editing.kinds.batch_norm import own_statistics
from errata.editing.kinds.find import Kind, with_kinds
from errata.editing.model import EditableModel
from errata.editing.networks.architectures import build
from errata.editing.training.plain import predict
from tests.editing.models import small_images, small_model


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Small images of one kind, in the cache where the benchmark looks for them."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "images").mkdir()
    np.save(cache / "images" / "dark.npy", small_images(100 + UNSEEN, seed=5).numpy() // 4)
    counts = (100, 300, 300, UNSEEN)
    parts = (Images(small_images(count, seed), torch.arange(count) % 4) for seed, count in enumerate(counts))
    return Bench(small_model(), Parts(*parts), cache)


def with_a_kind(bench: Bench) -> EditableModel:
    """The root with a kind that fires on half of the unseen images."""
    directions = bench.known("dark", "unseen", "directions")
    weight = torch.eye(directions.shape[1])[0]
    replaced = own_statistics(bench.root, bench.images("dark").unseen.images[:50], 1.0)
    kind = Kind(("a",), weight, (directions @ weight).median(), 0.5, replaced)
    return with_kinds(bench.root, (kind,), bench.kind_state)


def with_another_head(bench: Bench) -> EditableModel:
    """The root, inclined to the first class."""
    model = copy.deepcopy(bench.root)
    with torch.no_grad():
        model.head.bias[0] += 5
    return model


def test_network_of_the_paper(tmp_path: Path) -> None:
    backbone, head = build("cifar-resnet", 10, (32, 32, 3), {"blocks": 3})
    chains = sum(
        9 * (inputs * outputs + (2 * blocks - 1) * outputs**2) + 2 * 2 * blocks * outputs
        for blocks, inputs, outputs in ((3, 16, 16), (3, 16, 32), (3, 32, 64))
    )
    stem, linear = 9 * 3 * 16 + 2 * 16, 64 * 10 + 10
    weights = [*backbone.parameters(), *head.parameters()]
    assert sum(each.numel() for each in weights) == stem + chains + linear == 269_722  # 0.27M in the paper's Table 6

    state = {f"module.{name}": value for name, value in backbone.state_dict().items()}
    state |= {f"module.linear.{name}": value for name, value in head.state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, tmp_path / "resnet20.th")
    model = load_resnet(tmp_path / "resnet20.th", 3)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = head(backbone.eval()(model.normalise(images)))
    assert torch.allclose(predict(model, images), expected, atol=1e-4)


def test_shortcut_takes_every_second_place_and_adds_zeros() -> None:
    hidden = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    found = PaddedShortcut(4, 2)(hidden)
    assert found.shape == (1, 6, 2, 2)
    assert found[0, [0, 1, 4, 5]].abs().sum() == 0
    assert found[0, 2].tolist() == [[0, 2], [8, 10]] and found[0, 3].tolist() == [[16, 18], [24, 26]]


def test_parts_share_no_image() -> None:
    numbers = torch.arange(10_000)
    parts = Parts.of(Images(numbers, numbers))
    found = torch.cat([each.labels for each in (parts.pool, parts.reference, parts.calibration, parts.control)])
    assert torch.equal(found.sort().values, numbers)


def test_only_what_may_have_changed_is_run(bench: Bench) -> None:
    images = bench.images("dark").unseen.images
    root = predict(bench.root, images).argmax(1)
    for edited in (with_a_kind(bench), with_another_head(bench)):
        found, _ = bench.predicted(edited, "dark", "unseen", UNSEEN)
        assert torch.equal(found, predict(edited, images).argmax(1))
        assert not torch.equal(found, root)
    _, fires = bench.predicted(with_a_kind(bench), "dark", "unseen", UNSEEN)
    assert fires == pytest.approx(0.5, abs=0.01)


def test_judged_on_images_of_the_kind_and_on_control_images(bench: Bench) -> None:
    row = Row("another head", lambda given, _: with_another_head(given))
    outcome = bench.judge(row, "dark", 20, 0)
    unseen, control = bench.images("dark").unseen, bench.parts.control
    errors = [
        (predict(model, part.images).argmax(1) != part.labels)
        for model in (bench.root, with_another_head(bench))
        for part in (unseen, control)
    ]
    assert outcome.before == errors[0].double().mean().item() and outcome.after == errors[2].double().mean().item()
    assert outcome.right - outcome.wrong == pytest.approx(outcome.before - outcome.after)
    assert outcome.flips == (~errors[1] & errors[3]).double().mean().item() and outcome.control == UNSEEN


def test_corrections_are_mistakes_with_their_labels(bench: Bench) -> None:
    pool = bench.images("dark").pool
    chosen = bench.constraints("dark", 20, 0)
    positions = [int(one.key.removeprefix("dark-")) for one in chosen]
    assert len(set(positions)) == 20
    found = predict(bench.root, torch.stack([one.image for one in chosen])).argmax(1)
    assert [one.expected for one in chosen] == pool.labels[positions].tolist()
    assert not any(int(each) == one.expected for each, one in zip(found, chosen, strict=True))
