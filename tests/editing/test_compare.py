"""The frontier by hand, and the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from editing.compare import compare, draw_frontier, frontier
from editing.editors.gradient import GradientEditor
from editing.errors import MeasurementError
from editing.metrics import Estimate
from editing.protocol import Control, Summary, draw_demands
from editing.rules import RMSProp
from editing.scopes import Scope
from editing.views import ViewSettings
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
