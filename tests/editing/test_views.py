import pytest
import torch
from torch import Tensor

from errata.editing.errors import DataError
from errata.editing.settings import ViewSettings
from errata.editing.views import fitting_views, unseen_views


def picture(seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (16, 20, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_first_view_is_the_image_and_shapes_are_as_said() -> None:
    views = fitting_views(picture(), ViewSettings(), seed=3)
    assert views.dtype == torch.uint8
    assert views.shape == (17, 16, 20, 3)
    assert torch.equal(views[0], picture())
    assert unseen_views(picture(), ViewSettings(), seed=3).shape == (8, 16, 20, 3)


def test_same_seed_same_views_other_seed_others() -> None:
    settings = ViewSettings()
    assert torch.equal(fitting_views(picture(), settings, 1), fitting_views(picture(), settings, 1))
    assert not torch.equal(fitting_views(picture(), settings, 1), fitting_views(picture(), settings, 2))


def test_no_unseen_view_was_fitted_even_where_few_views_exist() -> None:
    # One pixel of shift and nothing else: nine views in all, so chance alone would repeat some of them.
    settings = ViewSettings(fitting=4, unseen=5, max_shift=0.06, flip=False, light=0, noise=0)
    fitted, unseen = fitting_views(picture(), settings), unseen_views(picture(), settings)
    for view in unseen:
        assert not any(torch.equal(view, other) for other in fitted)


def test_settings_that_vary_nothing_have_no_unseen_views() -> None:
    settings = ViewSettings(max_shift=0, flip=False, light=0, noise=0)
    assert torch.equal(fitting_views(picture(), settings), picture().expand(17, 16, 20, 3))
    with pytest.raises(DataError, match="vary nothing"):
        unseen_views(picture(), settings)


def test_a_shift_moves_pixels_and_repeats_the_edge() -> None:
    settings = ViewSettings(fitting=60, max_shift=0.06, flip=False, light=0, noise=0)
    image = picture()
    for view in fitting_views(image, settings):
        matches = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if torch.equal(view[1:-1, 1:-1], image[1 + dy : 15 + dy, 1 + dx : 19 + dx])
        ]
        assert len(matches) == 1
        if matches == [(1, 0)]:
            assert torch.equal(view[-1], image[-1])


def test_a_flip_mirrors_left_to_right() -> None:
    settings = ViewSettings(fitting=30, max_shift=0, flip=True, light=0, noise=0)
    views = fitting_views(picture(), settings)
    mirrored = sum(torch.equal(view, picture().flip(1)) for view in views)
    assert 0 < mirrored < 30
    assert all(torch.equal(view, picture()) or torch.equal(view, picture().flip(1)) for view in views)


def test_noise_and_light_have_the_strength_they_say() -> None:
    grey = torch.full((64, 64, 3), 128, dtype=torch.uint8)
    noisy = fitting_views(grey, ViewSettings(fitting=200, max_shift=0, flip=False, light=0, noise=0.04)).float()
    spread = noisy[1:].flatten(1).std(1) / 255
    assert spread.max() < 0.042 and 0.015 < spread.mean() < 0.025  # uniform between 0 and 0.04
    lit = fitting_views(grey, ViewSettings(fitting=200, max_shift=0, flip=False, light=0.2, noise=0)).float()
    assert lit.min() >= 128 * 0.8 - 1 and lit.max() <= 128 * 1.2 + 1
