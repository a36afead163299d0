"""The history of releases as the report draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HistoryPoint:
    """One point of the history: a release's error on its gate split, before and after.

    None where the store no longer has the bundle that was live: nothing is told of it, and nothing drawn.
    """

    version: int
    corrections: int | None = None
    before: float | None = None
    after: float | None = None
    live: bool = False

    @property
    def drawdown(self) -> float | None:
        """Error rate of the release minus that of its root."""
        return None if self.after is None or self.before is None else self.after - self.before


def history_chart(history: Sequence[HistoryPoint]) -> dict[str, Any] | None:
    """The drawdown of each release as points of a 600 x 180 drawing; None without at least two to draw.

    Those to be labelled are `named`, and `named_narrow` on a phone, where letters take twice as much of the drawing.
    """
    drawn = [(each, each.drawdown) for each in history if each.drawdown is not None]
    if len(drawn) < 2:
        return None
    low, high = min(0.0, *(value for _, value in drawn)), max(0.0, *(value for _, value in drawn))
    pad = 0.15 * ((high - low) or 0.01)
    low, high = low - pad, high + pad
    points = [
        {
            "x": round(60 + 510 * index / (len(drawn) - 1), 1),
            "y": round(150 - 130 * (value - low) / (high - low), 1),
            "text": f"{value:+.2%}",
            "version": each.version,
            "live": each.live,
        }
        for index, (each, value) in enumerate(drawn)
    ]
    for name, most in (("named", 12), ("named_narrow", 5)):  # so that the labels of many releases do not collide
        last, step = len(points) - 1, -(-len(points) // most)
        for index, point in enumerate(points):
            point[name] = index == last or (index % step == 0 and index <= last - step)
    return {"points": points, "zero": round(150 - 130 * (0 - low) / (high - low), 1)}
