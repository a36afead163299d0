import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from errata.editing.editors.detectors import background, calibrate, directions
from errata.editing.errors import DataError


def features(n: int, seed: int, d: int = 12) -> Tensor:
    """Correlated, skewed and far from zero, as features behind a rectifier are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=torch.Generator().manual_seed(99))
    return torch.relu(torch.randn(n, d, generator=generator) @ mixing + 1)


@pytest.mark.parametrize("views", [1, 7])
def test_direction_is_the_fisher_discriminant(views: int) -> None:
    reference, gamma, eps = features(400, 0), 0.7, 0.05
    corrections = features(3 * views, 1).reshape(3, views, 12)
    found = directions(corrections, background(reference, features(10, 2), eps), gamma).numpy()
    control = np.cov(reference.double().numpy().T)
    ridge = eps * np.trace(control) / 12 * np.eye(12)
    for row, points in zip(found, corrections.double().numpy(), strict=True):
        scatter = np.cov(points.T, bias=True) if views > 1 else np.zeros((12, 12))
        difference = points.mean(0) - reference.double().numpy().mean(0)
        direct = np.linalg.solve(control + ridge + gamma * scatter, difference)
        np.testing.assert_allclose(row / np.linalg.norm(row), direct / np.linalg.norm(direct), atol=1e-8)
        assert row @ (control + ridge) @ row == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 0.002, 0.02])
def test_a_slot_fires_on_fresh_images_as_rarely_as_promised(alpha: float) -> None:
    control = background(features(500, 0), features(3000, 1), 0.01)
    weight = directions(features(200, 2)[:, None], control, 1.0)
    found = calibrate(weight, control, alpha)
    fresh = features(20_000, 3)
    firing = (fresh @ found.weight.T > found.threshold).sum(0)
    # Averaged over calibration splits the rate is at most max(alpha, 1 / (n + 1)); here one split, 200 directions.
    promised = max(alpha, 1 / 3001)
    assert float(firing.double().mean()) <= binom.ppf(0.999, 20_000, promised)
    if alpha > 0:
        assert float(firing.double().mean()) >= 0.6 * alpha * 20_000  # nor is it much stricter than asked
    calibration = (features(3000, 1) @ found.weight.T > found.threshold).double().mean(0)
    assert torch.equal(calibration, found.firing)
    assert float(calibration.max()) <= alpha


def test_alpha_zero_never_fires_on_calibration_in_any_type() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        control = background(features(500, 0), features(1000, 1).to(dtype), 0.01)
        found = calibrate(directions(features(50, 2)[:, None], control, 1.0), control, 0.0)
        for batch in (1000, 7, 1):
            for part in features(1000, 1).to(dtype).split(batch)[:50]:
                assert not (part @ found.weight.T > found.threshold).any()
        assert found.weight.dtype == found.threshold.dtype == dtype


def test_one_constant_feature_is_no_obstacle() -> None:
    dead = features(100, 0)
    dead[:, 3] = 0
    control = background(dead, dead, 0.01)
    assert torch.isfinite(directions(features(2, 1)[:, None], control, 1.0)).all()


def test_too_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="reference"):
        background(features(1, 0), features(10, 1), 0.01)
    with pytest.raises(DataError, match="calibration"):
        background(features(10, 0), features(1, 1), 0.01)
