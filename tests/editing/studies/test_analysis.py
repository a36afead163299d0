"""Harm by class by hand, KL profiles by their definition, a map that keeps groups apart, and figures that exist."""

from pathlib import Path

import numpy as np
import pytest
import torch

from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.errors import MeasurementError
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.studies.analysis import Subject, draw_harm, draw_maps, edit_map, harm_matrix, kl_profiles
from errata.editing.studies.protocol import Control, Demand, Trial
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model


def trial(image: int, harm: tuple[float, ...]) -> Trial:
    return Trial(image, 1, 0, False, True, 3, 0.1, 30, 1, 0, 0.2, None, harm)


def test_harm_is_the_mean_over_edits_of_each_class() -> None:
    labels = np.array([0, 2, 2])
    trials = [trial(0, (0.1, 0.0, 0.3)), trial(1, (0.0, 0.2, 0.0)), trial(2, (0.4, 0.0, -0.2))]
    expected = np.array([[0.1, 0.0, 0.3], [np.nan] * 3, [0.2, 0.1, -0.1]])
    np.testing.assert_allclose(harm_matrix(trials, labels), expected)
    with pytest.raises(MeasurementError, match="no edit"):
        harm_matrix([], labels)


def test_profiles_are_the_kl_of_each_control_image() -> None:
    root, images = small_model(), small_images(12)
    editor = GradientEditor(RMSProp(0.02), Scope("chain4"))
    target = int(root(images[3:4]).argmin())
    profiles = kl_profiles(editor, GradientState(), Control(root, images, torch.zeros(12)), [Demand(3, target)])
    edited = editor.edit(root, [Constraint(images[3], target)], GradientState()).model
    with torch.no_grad():
        p, q = (torch.softmax(model(images).double(), 1).numpy() for model in (root, edited))
    np.testing.assert_allclose(profiles[0], (p * np.log(p / q)).sum(1), rtol=1e-3, atol=1e-6)
    assert profiles.shape == (1, 12) and profiles.max() > 0


def test_the_map_keeps_two_kinds_of_edits_apart() -> None:
    generator = np.random.default_rng(0)
    kinds = np.repeat([0, 1], 15)
    profiles = generator.uniform(0, 0.01, (30, 40))
    profiles[:15, :20] += 1.0
    profiles[15:, 20:] += 1.0
    places = edit_map(profiles)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(30)
    assert (kinds[distances.argmin(1)] == kinds).all()
    with pytest.raises(MeasurementError, match="at least 5"):
        edit_map(profiles[:4])


def test_figures(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    subjects = [
        Subject(name, generator.normal(size=(4, 4)), generator.normal(size=(9, 2)), np.arange(9) % 4)
        for name in ("plain", "editable")
    ]
    for draw, name in ((draw_harm, "harm.png"), (draw_maps, "maps.png")):
        draw(subjects, ("a", "b", "c", "d"), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
