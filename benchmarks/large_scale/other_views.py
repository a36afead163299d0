"""Views of an image outside the family that editors fit (`editing.views`): does an edit hold where nobody looked?"""

from __future__ import annotations

import torch
from torch import Tensor

from errata.editing.vision import torchvision

FAMILIES = ("rotation", "zoom", "blur", "grey", "cutout", "tint")


def other_views(image: Tensor) -> Tensor:
    """One view of `image`, uint8 `[height, width, 3]`, of each of FAMILIES: uint8 `[6, height, width, 3]`.

    Turned by 12 degrees, the middle 80% enlarged, blurred over 2% of the height, without colours, a square of a
    quarter of the side left out in the middle, and with hues turned by 18 degrees.
    """
    change = torchvision.transforms.functional
    picture = image.permute(2, 0, 1)
    height, width = picture.shape[1:]
    top, left, side = round(0.1 * height), round(0.1 * width), height // 4
    erased = picture.clone()
    erased[:, (height - side) // 2 :, (width - side) // 2 :][:, :side, :side] = 128
    sigma = max(0.02 * height, 0.5)
    found = [
        change.rotate(picture, 12.0, fill=[128.0]),
        change.resized_crop(picture, top, left, height - 2 * top, width - 2 * left, [height, width]),
        change.gaussian_blur(picture, [2 * round(2 * sigma) + 1] * 2, [sigma, sigma]),
        change.rgb_to_grayscale(picture, num_output_channels=3),
        erased,
        change.adjust_hue(picture, 0.05),
    ]
    return torch.stack([each.permute(1, 2, 0) for each in found])
