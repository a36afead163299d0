"""The benchmark of one concept: its parts are disjoint, and what it takes from features is what the network says."""

from pathlib import Path

import pytest
import torch

from benchmarks.imagenet.bench import predicted
from benchmarks.kinds.concepts import Bench, cells, fires, measured, report
from errata.editing.batches import at_once
from tests.photos import write_photos


@pytest.mark.slow
def test_the_benchmark_on_photos_of_four_classes(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    write_photos(tmp_path / "control", 8, seed=4)
    write_photos(tmp_path / "concept", 12, seed=3, hard=True)
    bench = Bench(tmp_path / "control", tmp_path / "concept", tmp_path / "cache")
    half = bench.half(0, 10, 10)
    assert sorted((*half.reference, *half.calibration, *half.control)) == list(range(len(bench.control.labels)))
    wrong = set((~bench.right).nonzero()[:, 0].tolist())
    assert {*half.chosen} | {*half.others} == wrong and not {*half.chosen} & {*half.others}
    (outcome,) = measured(bench, "slots, alpha 2%", [half], tmp_path / "row.jsonl")
    again = measured(bench, "slots, alpha 2%", [half], tmp_path / "row.jsonl")
    assert str(again) == str([outcome])  # read, not run; shares of nothing are NaN
    with torch.no_grad():
        some = bench.concept.images[:4]
        assert at_once(some.shape[1:]) >= len(some)
        logits = bench.root(some)
    assert predicted(bench.root, bench.concept.features[:4]).tolist() == logits.argmax(1).tolist()
    assert not bool(fires(bench.root, bench.concept.features).any())
    assert cells("slots", [outcome])[0] in report(bench, [half], {"slots": [outcome]})
