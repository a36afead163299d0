"""Tuning finds a rate that succeeds where the starting one does not, and prefers less drawdown."""

import pytest
import torch

from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import MeasurementError
from errata.editing.rules import GradientDescent, RMSProp
from errata.editing.studies.protocol import Control, Demand, draw_demands, run_protocol
from errata.editing.studies.tuning import TuningSettings, tune
from tests.editing.models import small_images, small_model

IMAGES, LABELS = small_images(40), torch.arange(40) % 4


def test_finds_what_succeeds_with_the_least_drawdown() -> None:
    control = Control(small_model(), IMAGES, LABELS)
    demands = draw_demands(6, 40, 4, seed=0)
    lines: list[str] = []
    settings = TuningSettings(trials=8, rates=(1e-5, 1.0))
    found = tune(GradientDescent(1e-5), ["chain3", "head"], control, demands, settings, report=lines.append)
    assert found.success >= 0.95 and found.tried == len(lines) == 8
    assert "GradientDescent(learning_rate=1e-05) chain3" in lines[0]  # the start is tried first, and fails here
    open_ones = [one for one in demands if control.root_classes[one.image] != one.expected]
    trials = list(run_protocol(found.editor, GradientState(), control, open_ones))
    assert all(trial.success for trial in trials)
    assert sum(trial.drawdown for trial in trials) / len(trials) == pytest.approx(found.drawdown)
    again = tune(GradientDescent(1e-5), ["chain3", "head"], control, demands, settings)
    assert again == found


def test_the_weight_of_a_penalty_is_searched_along() -> None:
    control = Control(small_model(), IMAGES, LABELS)
    demands = draw_demands(4, 40, 4, seed=0)
    lines: list[str] = []
    settings = TuningSettings(trials=5, rates=(0.1, 0.5), penalties=(1e-3, 1e6))
    found = tune(GradientDescent(0.3), ["head"], control, demands, settings, report=lines.append)
    weights = {float(line.split("penalty ")[1].split(":")[0]) for line in lines}
    assert len(weights) == 5 and min(weights) >= 1e-3 and max(weights) <= 1e6
    assert isinstance(found.editor.penalty, ElasticPenalty)
    assert any(abs(found.editor.penalty.weight / weight - 1) < 0.01 for weight in weights)
    assert not tune(GradientDescent(0.3), ["head"], control, demands, TuningSettings(1, (0.1, 0.5))).editor.penalty


def test_when_nothing_succeeds_it_says_so() -> None:
    control = Control(small_model(), IMAGES, LABELS)
    found = tune(RMSProp(1e-9), ["head"], control, draw_demands(4, 40, 4, 0), TuningSettings(2, (1e-10, 1e-9)))
    assert found.success == 0.0 and isinstance(found.editor, GradientEditor)


def test_edits_that_ask_for_nothing_are_refused() -> None:
    control = Control(small_model(), IMAGES, LABELS)
    satisfied = [Demand(index, int(control.root_classes[index])) for index in range(3)]
    with pytest.raises(MeasurementError, match="predicted already"):
        tune(RMSProp(), ["head"], control, satisfied, TuningSettings(1))
