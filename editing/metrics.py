"""What an edit did, in numbers with bounds: drawdown, flips, success, generalization.

Everything takes numpy arrays and refuses what it cannot measure: nothing at all, NaN, or lengths that differ raise
MeasurementError, so that a gate can never pass on a number that was not computed.

Bounds are one-sided at the given confidence. A rate has Clopper and Pearson's exact bound (1934). A drawdown is the
difference of two rates of the same images, p(right -> wrong) - p(wrong -> right); its bound is Bonferroni's union of
two exact ones, each at half the error. It covers at any n and any rate, unlike the asymptotic intervals for paired
proportions (Wald, Tango 1998) which are anti-conservative where it matters here: at zero or a handful of flips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from errata.editing.errors import MeasurementError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class PairedOutcomes:
    """The same `n` control images before and after an edit, counted by what was right.

    `error_increase` is `(negative_flips - positive_flips) / n`, signed; `drawdown` its absolute value, which is the
    paper's measure (section 3).
    """

    n: int
    both_right: int
    negative_flips: int
    positive_flips: int
    both_wrong: int

    @property
    def error_before(self) -> float:
        """Error rate before the edit."""
        return (self.positive_flips + self.both_wrong) / self.n

    @property
    def error_after(self) -> float:
        """Error rate after the edit."""
        return (self.negative_flips + self.both_wrong) / self.n

    @property
    def error_increase(self) -> float:
        """Error rate after minus error rate before."""
        return (self.negative_flips - self.positive_flips) / self.n

    @property
    def drawdown(self) -> float:
        """Absolute change of the error rate."""
        return abs(self.error_increase)

    @property
    def negative_flip_rate(self) -> float:
        """Share of all control images that were right before and are wrong after."""
        return self.negative_flips / self.n

    def error_increase_bound(self, confidence: float = CONFIDENCE) -> float:
        """Upper bound of the true increase of the error rate (see this module's head)."""
        half = 1 - (1 - confidence) / 2
        return rate_upper_bound(self.negative_flips, self.n, half) - rate_lower_bound(self.positive_flips, self.n, half)

    def negative_flip_bound(self, confidence: float = CONFIDENCE) -> float:
        """Upper bound of the true rate of negative flips."""
        return rate_upper_bound(self.negative_flips, self.n, confidence)


@dataclass(frozen=True)
class Estimate:
    """A mean with its two-sided interval, of `n` values."""

    mean: float
    low: float
    high: float
    n: int


def predicted_classes(logits: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """The top class of each row of `logits` `[n, classes]`; raises MeasurementError on none or on NaN."""
    if logits.ndim != 2 or logits.size == 0:
        raise MeasurementError(f"logits of shape {logits.shape}: give [n, classes] with n at least 1")
    if np.isnan(logits).any():
        raise MeasurementError("the logits contain NaN; the model or the images are damaged")
    return np.asarray(logits.argmax(axis=1), dtype=np.int64)


def compare_predictions(
    before: NDArray[np.integer[Any]], after: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]
) -> PairedOutcomes:
    """Count the outcomes of predicted classes `before` and `after` an edit against `labels`, each int `[n]`."""
    for name, values in (("before", before), ("after", after), ("labels", labels)):
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
            raise MeasurementError(f"{name} must be a row of class numbers, not {values.dtype} {values.shape}")
    if not len(before) == len(after) == len(labels):
        raise MeasurementError(f"{len(before)} before, {len(after)} after, {len(labels)} labels: lengths must be equal")
    if len(labels) == 0:
        raise MeasurementError("there are no control images to compare predictions on")
    right_before, right_after = before == labels, after == labels
    return PairedOutcomes(
        n=len(labels),
        both_right=int((right_before & right_after).sum()),
        negative_flips=int((right_before & ~right_after).sum()),
        positive_flips=int((~right_before & right_after).sum()),
        both_wrong=int((~right_before & ~right_after).sum()),
    )


def success_rate(successes: NDArray[np.bool_]) -> float:
    """Share of edits that succeeded; raises MeasurementError on none."""
    if successes.ndim != 1 or len(successes) == 0 or successes.dtype != np.bool_:
        raise MeasurementError(f"success must be a row of booleans, not {successes.dtype} {successes.shape}")
    return float(successes.mean())


def generalization(views: NDArray[np.integer[Any]], expected: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """For each correction, the share of its unseen views that get the expected class: `[k]`; its mean is the measure.

    `views` are predicted classes `[k, views]`, `expected` the corrections' classes `[k]`. Views of one image are not
    independent: an interval must resample corrections (`bootstrap_mean` of this), not views.
    """
    if views.ndim != 2 or expected.shape != views.shape[:1] or views.size == 0:
        raise MeasurementError(f"views of shape {views.shape} for {expected.shape} classes; give [k, views] and [k]")
    return np.asarray((views == expected[:, None]).mean(axis=1), dtype=np.float64)


def rate_upper_bound(count: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Clopper-Pearson upper bound of a rate seen as `count` of `n`."""
    _check_rate(count, n, confidence)
    return 1.0 if count == n else float(betaincinv(count + 1, n - count, confidence))


def rate_lower_bound(count: int, n: int, confidence: float = CONFIDENCE) -> float:
    """Clopper-Pearson lower bound of a rate seen as `count` of `n`."""
    _check_rate(count, n, confidence)
    return 0.0 if count == 0 else float(betaincinv(count, n - count + 1, 1 - confidence))


def exact_rate(count: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """The rate `count` of `n` with its two-sided Clopper-Pearson interval.

    A bootstrap of successes alone gives [1, 1], however few there are.
    """
    half = (1 + confidence) / 2
    return Estimate(count / n, rate_lower_bound(count, n, half), rate_upper_bound(count, n, half), n)


def bootstrap_mean(
    values: NDArray[np.floating[Any]], confidence: float = CONFIDENCE, resamples: int = 10_000, seed: int = 0
) -> Estimate:
    """The mean of `values` `[n]` with its two-sided percentile bootstrap interval (Efron 1979)."""
    if values.ndim != 1 or len(values) == 0:
        raise MeasurementError(f"values of shape {values.shape} have no mean; give a row of at least one")
    if not np.isfinite(values).all():
        raise MeasurementError("the values contain NaN or infinity")
    _check_confidence(confidence)
    generator = np.random.default_rng(seed)
    numbers = values.astype(np.float64)
    # In pieces: 10,000 resamples of 10,000 values at once would take 800 MB.
    piece = max(1, min(resamples, 10_000_000 // len(numbers)))
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, piece):
        count = min(piece, resamples - start)
        means.append(numbers[generator.integers(0, len(numbers), (count, len(numbers)))].mean(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Estimate(float(numbers.mean()), float(low), float(high), len(numbers))


def _check_rate(count: int, n: int, confidence: float) -> None:
    if n < 1 or not 0 <= count <= n:
        raise MeasurementError(f"{count} of {n} is not a rate; n must be at least 1 and the count within it")
    _check_confidence(confidence)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise MeasurementError(f"confidence {confidence} is not between 0 and 1")
