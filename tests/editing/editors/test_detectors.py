import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor
from torch.nn import functional

from errata.editing.editors.detectors import TWIN, background, calibrate, directions, with_traffic
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


def test_thresholds_are_raised_towards_the_views_and_never_above_the_image() -> None:
    control = background(features(500, 0), features(1000, 1), 0.01)
    own = features(40, 2)[:, None]
    views = torch.cat([own, own + torch.linspace(0, 2, 40)[:, None, None] * features(40 * 8, 4).reshape(40, 8, 12)], 1)
    weight = directions(views, control, 1.0)
    plain = calibrate(weight, control, 0.02)
    raised = calibrate(weight, control, 0.02, views, tau=0.3, quantile=0.25)
    scores = np.einsum("kvd,kd->kv", views.double().numpy(), raised.weight.double().numpy())
    towards = np.minimum(np.quantile(scores, 0.25, axis=1), scores[:, 0])
    low = plain.threshold.double().numpy()
    np.testing.assert_allclose(raised.threshold, low + 0.3 * np.maximum(towards - low, 0), rtol=1e-4)
    assert (towards > low).any() and (towards < low).any()
    fires = features(1000, 1) @ raised.weight.T > raised.threshold
    assert torch.equal(fires.double().mean(0), raised.firing)


def test_traffic_calibrates_but_for_the_corrected_picture_itself() -> None:
    control = background(features(500, 0), features(50, 1), 0.01)
    unit = functional.normalize
    traffic, corrected = unit(features(3000, 3)), unit(features(1, 4))
    noisy = unit(corrected + 0.01 * unit(features(1, 5)))
    found = with_traffic(control, torch.cat([traffic, noisy, corrected]), corrected)
    apart = (traffic @ corrected.T)[:, 0] <= TWIN
    assert torch.equal(found.calibration, torch.cat([control.calibration, traffic[apart]]))
    assert 0 < apart.sum() < 3000
    weight = directions(corrected[:, None], control, 1.0)
    slot = calibrate(weight, found, 0.0)
    assert not (traffic[apart] @ slot.weight.T > slot.threshold).any()


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
