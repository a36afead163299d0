"""The benchmark of a real network: its parts are disjoint, and what it takes from features is what the network says."""

from pathlib import Path

import pytest
import torch

from benchmarks.imagenet.__main__ import ROWS, measured, report
from benchmarks.imagenet.bench import CORRECTIONS, SHAPE, Bench, predicted
from errata.data.datasets import load_dataset
from tests.photos import PLACES, write_photos


@pytest.mark.slow
def test_the_benchmark_on_photos_of_four_classes(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    write_photos(tmp_path / "photos", 20, seed=3, hard=True)
    dataset = load_dataset("folder", tmp_path / "photos", image_shape=SHAPE)
    bench = Bench(dataset, (4, 4, 4), tmp_path / "cache")
    assert [len(part.labels) for part in (bench.reference, bench.calibration, bench.control, bench.pool)] == [
        *[4 * len(PLACES)] * 3,
        8 * len(PLACES),
    ]
    draws = list(bench.draws(concepts=1, halves=2))
    wrong = set(bench.wrong.nonzero()[:, 0].tolist())
    for draw in draws:
        assert 0 < len(draw.chosen) <= CORRECTIONS
        assert {*draw.chosen, *draw.others} <= wrong
        assert not {*draw.chosen} & {*draw.others}
    with torch.no_grad():  # the rows that change the most: slots, and a kind, through the whole network
        for row in (ROWS[0], ROWS[-1]):
            model = row.make(bench)(draws[1])
            assert predicted(model, bench.pool.features).tolist() == model(bench.pool.images).argmax(1).tolist()
    found = {row.name: measured(bench, row, draws, tmp_path / f"{row.name}.jsonl") for row in ROWS}
    assert [len(outcomes) for outcomes in found.values()] == [4] * 5 + [2] * 2
    again = {row.name: measured(bench, row, draws, tmp_path / f"{row.name}.jsonl") for row in ROWS}
    assert str(again) == str(found)  # read, not run
    assert all(one.hold == 1 for one in found["calibrated patch"] if one.hold == one.hold)
    assert "| kind edit (alpha 2%) |" in report(bench, found, "a test")
