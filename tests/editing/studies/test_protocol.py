"""The protocol against a plain loop: whole model, every image, errors counted by hand."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import MeasurementError
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import (
    Control,
    Demand,
    Trial,
    draw_demands,
    first_changed_stage,
    run_protocol,
    summarise,
)
from errata.editing.types import Constraint
from errata.editing.views import unseen_views
from tests.editing.models import small_images, small_model

IMAGES, LABELS = small_images(60), torch.arange(60) % 4
VIEWS = ViewSettings(fitting=3, unseen=4, max_shift=0.13)


@pytest.mark.parametrize(("scope", "side_by_side"), [("whole", 1), ("chain3", 1), ("head", 1), ("chain3", 4)])
def test_trials_are_what_a_plain_loop_finds(scope: str, side_by_side: int) -> None:
    root = small_model()
    editor = GradientEditor(RMSProp(0.02), Scope(scope))
    demands = draw_demands(6, 60, 4, seed=2)
    control = Control(root, IMAGES, LABELS, batch=7)
    trials = list(run_protocol(editor, GradientState(), control, demands, VIEWS, side_by_side))
    assert any(trial.steps > 0 for trial in trials)
    with torch.no_grad():
        chances = torch.softmax(root(IMAGES), 1).numpy()
    for demand, trial in zip(demands, trials, strict=True):
        result = editor.edit(root, [Constraint(IMAGES[demand.image], demand.expected)], GradientState())
        with torch.no_grad():
            old, new = (model(IMAGES).argmax(1) for model in (root, result.model))
            seen = result.model(unseen_views(IMAGES[demand.image], VIEWS)).argmax(1)
        assert trial.error_before == pytest.approx((old != LABELS).float().mean().item())
        assert trial.drawdown == pytest.approx(
            abs((new != LABELS).float().mean() - (old != LABELS).float().mean()).item()
        )
        assert trial.negative_flips == sum((old == LABELS) & (new != LABELS))
        near = [row for row in range(60) if np.diff(np.sort(chances[row])[-2:])[0] < 0.05 and old[row] == LABELS[row]]
        assert 0 < trial.boundary == len(near) < 60
        assert trial.boundary_flips == sum(int(new[row] != LABELS[row]) for row in near)
        assert trial.already == (int(old[demand.image]) == demand.expected)
        assert trial.success == (int(new[demand.image]) == demand.expected) == result.success
        assert trial.generalization == pytest.approx((seen == demand.expected).float().mean().item())
        assert np.mean(trial.harm) == pytest.approx((trial.negative_flips - trial.positive_flips) / 60)


def test_the_first_changed_stage_is_found_in_parameters_and_buffers() -> None:
    root = small_model()
    assert first_changed_stage(root, root) is None and first_changed_stage(root, copy.deepcopy(root)) is None
    for name, stage in [
        ("backbone.stem.0.weight", 0),
        ("backbone.chain3.0.bn1.running_mean", 3),
        ("backbone.chain4.0.conv1.weight", 4),
        ("head.bias", 6),
        ("patch.value", 6),
    ]:
        edited = copy.deepcopy(root)
        with torch.no_grad():
            edited.state_dict()[name] += 1
        assert first_changed_stage(root, edited) == stage
    with pytest.raises(MeasurementError, match="own root"):
        first_changed_stage(root, torch.nn.Linear(2, 2))  # type: ignore[arg-type]


def test_demands_are_distinct_images_and_all_classes() -> None:
    demands = draw_demands(4000, 5000, 4, seed=0)
    assert len({demand.image for demand in demands}) == 4000
    counts = np.bincount([demand.expected for demand in demands])
    assert len(counts) == 4 and abs(counts - 1000).max() < 5 * math.sqrt(750)
    assert draw_demands(4000, 5000, 4, seed=0) == demands != draw_demands(4000, 5000, 4, seed=1)
    with pytest.raises(MeasurementError, match="6 edits cannot be drawn from 5"):
        draw_demands(6, 5, 4, seed=0)


def trial(already: bool, negative: int, positive: int, steps: int) -> Trial:
    return Trial(0, 1, 1 if already else 0, already, True, steps, 0.1, 100, negative, positive, 0.2, 0.5)


def test_summary_with_and_without_what_was_predicted_already() -> None:
    trials = [trial(True, 0, 0, 0), trial(False, 6, 1, 4), trial(False, 1, 2, 2)]
    everything, asked = summarise(trials, with_already=True), summarise(trials, with_already=False)
    assert everything.drawdown.mean == pytest.approx((0 + 0.05 + 0.01) / 3) and everything.steps.mean == 2
    assert asked.drawdown.mean == pytest.approx(0.03) and asked.negative_flips.mean == pytest.approx(0.035)
    assert asked.success.mean == 1 and asked.success.low == pytest.approx(0.025**0.5)  # two of two, exact
    assert asked.drawdown.n == 2 and asked.drawdown.low == pytest.approx(0.01) and asked.error == 0.2
    with pytest.raises(MeasurementError, match="no edit"):
        summarise(trials[:1], with_already=False)


def test_summary_of_two_roots_one_of_which_has_no_image_near_the_boundary() -> None:
    first, second = trial(False, 1, 2, 2), trial(False, 1, 2, 2)
    together = summarise([first, replace(second, error_before=0.4, boundary=8, boundary_flips=2)], with_already=False)
    assert first.boundary == 0 and together.error == pytest.approx(0.3)
    assert together.boundary_flips is not None and together.boundary_flips.mean == 0.25


def test_control_without_images_is_refused() -> None:
    with pytest.raises(MeasurementError, match="0 control images"):
        Control(small_model(), IMAGES[:0], LABELS[:0])
    assert Demand(1, 2) == Demand(1, 2)
