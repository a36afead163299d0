"""The demonstration tells the whole truth: what broke among the requests that nobody reported, and what did it."""

from pathlib import Path

import numpy as np
from rich.console import Console

from errata.data.datasets import LabelledImages
from errata.data.storage.local import LocalStorage
from errata.editing.metrics import predicted_classes
from errata.flows.cli.demo import Answered, Day, live_classifier, prove
from errata.flows.night.summary import NightSummary
from tests.serving.releases import IMAGES, Correction, release


def test_what_broke_is_told_with_what_did_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "store")
    release(storage, 1)
    before = live_classifier(storage)[1].predict(IMAGES)
    labels = predicted_classes(before.logits).astype(np.int64)
    wrong, broken = 9, 13
    labels[wrong] = (labels[wrong] + 1) % 4
    release(
        storage, 2, (Correction(wrong, int(labels[wrong]), 2), Correction(broken, int((labels[broken] + 1) % 4), 5))
    )
    requests = LabelledImages(IMAGES, labels, tuple(f"class {number}" for number in range(4)))
    console = Console(record=True, width=200)
    summary = NightSummary("released", 2, 1, 2, 2)
    flips = prove(storage, Day(requests, requests, requests, good=13), Answered(before, [wrong]), summary, console)
    told = console.export_text()
    assert "gets 1 of the 1 reported images right" in told
    assert "of the day's 39 other requests, which it got right, 1 are wrong now" in told
    now = f"class {(labels[broken] + 1) % 4}"
    assert "1 of these 1 are of the bad camera" in told
    assert f"1 by slot 5, of correction 000000000000: class {labels[broken]} is taken for {now} now" in told
    assert (flips.images, [(each.index, each.broken) for each in flips.flipped]) == (39, [(broken, True)])
