"""How many directions slots need: all corrections of a draw at once, on features alone."""

import torch

from benchmarks.large_scale.bench import Case
from benchmarks.large_scale.directions import Controls, Outcome, cells, run
from benchmarks.large_scale.roots import VIEWS
from tests.editing.models import small_images, small_model


def test_an_outcome_says_what_slots_do() -> None:
    network = small_model()
    with torch.no_grad():
        features = network.features(small_images(400))
        classes = network.head(features).argmax(1)
        far = (3 * network.features(small_images(3, seed=5)) - 2 * features.mean(0)).clamp(min=0)  # apart from others
        wrong = ((network.head(far).argmax(1) + 1) % 4).tolist()
    none = features[:0]
    views = [row + 1e-4 * torch.rand(VIEWS.fitting, 32, generator=torch.Generator().manual_seed(1)) for row in far]
    cases = [
        Case(f"{n}", e, v[0].clone(), v, v[1:5], none, none) for n, (e, v) in enumerate(zip(wrong, views, strict=True))
    ]
    reference, calibration = Controls(features, classes).parts((200, 200), 0)
    assert not set(map(tuple, reference.features.tolist())) & set(map(tuple, calibration.features.tolist()))
    for directions in (12, 0):
        # No slot fires on any calibration photo, so those are not changed.
        assert run(network, directions, cases, (reference, calibration, calibration)) == Outcome(1.0, 1.0, 0.0, 0.0)


def test_a_row_holds_means_and_ranges() -> None:
    found = cells(0, 7, [Outcome(1.0, 0.5, 0.01, 0.0), Outcome(0.9, 0.7, 0.03, 0.001)])
    shares = ["95.0% (90.0 to 100.0)", "60.0% (50.0 to 70.0)", "2.00% (1.00 to 3.00)", "0.050% (0.000 to 0.100)"]
    assert found == ["all", "7", "2", *shares]
