"""Tables for the gate's tests: a full one that passes, and paired predictions with a given number of flips."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from errata.flows.gate.criterion import Criterion, Direction, Name, criterion, limit_of
from errata.flows.gate.paired import PairedAnswers, compare_answers
from errata.flows.params import GateParams

PARAMS = GateParams(
    drawdown=0.02,
    negative_flips=0.02,
    recall_drop=0.1,
    boundary=0.2,
    boundary_flips=0.1,
    reach=0.3,
    generalization=0.5,
    accuracy=0.8,
    parity=1e-3,
)


def passing_rows() -> tuple[Criterion, ...]:
    """Every criterion, each well within its limit."""

    def numbers(direction: Direction, limit: float) -> tuple[float, float]:
        return (0.0, limit / 2) if direction == "at most" else (1.0, 1.0)

    limits = {name: limit_of(name, PARAMS) for name in Name}
    return tuple(
        criterion(name, *numbers(limit.direction, limit.value), 1000, PARAMS) for name, limit in limits.items()
    )


def one_hot(classes: NDArray[np.int64], width: int = 10) -> NDArray[np.float64]:
    """Logits `[n, width]` whose top is the given class."""
    return np.eye(width)[classes]


def paired(n: int, negative: int, positive: int, wrong: int) -> tuple[Any, Any, Any]:
    """Labels of ten classes in turn, and logits before and after with so many right -> wrong, wrong -> right, wrong."""
    labels = np.arange(n) % 10
    before, after = labels.copy(), labels.copy()
    after[:negative] = (labels[:negative] + 1) % 10
    bad = slice(negative, negative + positive + wrong)
    before[bad] = (labels[bad] + 1) % 10
    still = slice(negative + positive, negative + positive + wrong)
    after[still] = (labels[still] + 1) % 10
    return labels, one_hot(before), one_hot(after)


def answered(labels: Any, before: Any, after: Any) -> tuple[Any, PairedAnswers]:
    """Labels, and what logits `[n, 10]` before and after say."""
    return labels, compare_answers(before, after)
