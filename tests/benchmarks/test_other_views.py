"""Views of other families, against numpy where a family has a plain meaning; none is the image itself."""

import numpy as np
import torch

from benchmarks.large_scale.other_views import FAMILIES, other_views


def test_each_family_does_what_its_name_says() -> None:
    image = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = dict(zip(FAMILIES, other_views(image), strict=True))
    assert all(view.shape == image.shape and view.dtype == torch.uint8 for view in found.values())
    assert all(not torch.equal(view, image) for view in found.values())
    assert torch.equal(other_views(image), other_views(image))
    grey = found["grey"].numpy()
    weights = image.numpy() @ np.array([0.299, 0.587, 0.114])
    assert (grey[..., 0] == grey[..., 1]).all() and np.abs(grey[..., 2] - weights).max() <= 1.5
    same = (found["cutout"] == image).all(2).numpy()
    assert (~same).sum() >= 60 and same[:12].all() and same[20:].all() and (found["cutout"][12:20, 12:20] == 128).all()
    assert float(found["blur"].float().std()) < 0.8 * float(image.float().std())
