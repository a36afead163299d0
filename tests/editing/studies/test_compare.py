"""The frontier by hand, and the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure

from errata.editing.editors.gradient import GradientEditor
from errata.editing.errors import MeasurementError
from errata.editing.metrics import Estimate
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.compare import compare, draw_frontier, frontier, place_labels
from errata.editing.studies.protocol import Control, Summary, draw_demands
from tests.editing.models import small_images, small_model


def summary(drawdown: float, generalization: float) -> Summary:
    def one(mean: float) -> Estimate:
        return Estimate(mean, mean, mean, 5)

    return Summary(one(drawdown), one(0), one(1), one(1), one(generalization), one(0), 0.1)


def test_the_frontier_is_what_nothing_beats() -> None:
    places = {
        "a": (0.01, 0.5),
        "b": (0.02, 0.9),
        "worse than b": (0.02, 0.8),
        "worse than a": (0.015, 0.4),
        "c": (0, 0),
    }
    assert frontier({name: summary(*place) for name, place in places.items()}) == ("c", "a", "b")
    twins = {"one": summary(0.1, 0.5), "other": summary(0.1, 0.5)}
    assert set(frontier(twins)) == set(twins)
    with pytest.raises(MeasurementError, match="of a was not measured"):
        frontier({"a": replace(summary(0, 0), generalization=None)})


def test_all_editors_are_measured_on_the_same_edits(tmp_path: Path) -> None:
    images = small_images(30)
    control = Control(small_model(), images, torch.arange(30) % 4)
    editors = {scope: GradientEditor(RMSProp(0.02), Scope(scope)) for scope in ("chain3", "head")}
    views = ViewSettings(fitting=2, unseen=2, max_shift=0.13)
    trials = compare(editors, control, images, images, draw_demands(5, 30, 4, 0), views)
    assert [one.image for one in trials["head"]] == [one.image for one in trials["chain3"]]
    best = draw_frontier(trials, tmp_path / "frontier.png")
    assert best and set(best) <= set(editors) and (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_labels_cover_neither_points_nor_each_other() -> None:
    """Three points within a label's width of each other, as RMSProp, RProp and scaled GD are, and one at the edge."""
    figure = Figure(figsize=(7.6, 4.8), layout="constrained")
    axis = figure.subplots()
    points = {"RMSProp, chain 3": (33.0, 6.3), "RProp, chain 3": (37.6, 6.8), "Scaled GD, chain 3": (39.3, 4.8)}
    points |= {"natural gradient": (1.6, 0.04), "calibrated patch": (99.0, 0.01)}
    axis.plot(*zip(*points.values(), strict=True), "o")
    axis.set(xlim=(0, 100), yscale="log")
    boxes = [label.get_window_extent() for label in place_labels(axis, points).values()]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])
        assert not any(box.contains(*place) for place in axis.transData.transform(list(points.values())))
        assert axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1
