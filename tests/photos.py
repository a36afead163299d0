"""Photos that come inside installed packages, cut into many: a folder for each class of ImageNet."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from sklearn.datasets import load_sample_image

# Where in which picture each class is to be seen: left, top, right, bottom as shares.
PLACES = {
    "daisy": ("flower.jpg", (0.1, 0.0, 1.0, 1.0)),
    "lakeside": ("china.jpg", (0.5, 0.1, 1.0, 1.0)),
    "palace": ("china.jpg", (0.0, 0.0, 0.65, 0.75)),
    "suit": ("grace_hopper.jpg", (0.0, 0.2, 1.0, 1.0)),
}


def _picture(name: str) -> Image.Image:
    if name == "grace_hopper.jpg":
        return Image.open(Path(mpl.get_data_path()) / "sample_data" / name).convert("RGB")
    return Image.fromarray(load_sample_image(name))


def write_photos(folder: Path, count: int, seed: int, hard: bool = False) -> None:
    """`count` different photos of each class under `folder/<class>/`; `hard` ones are tilted and out of focus."""
    chance = np.random.default_rng(seed)
    for name, (picture, (left, top, right, bottom)) in PLACES.items():
        whole = _picture(picture)
        width, height = whole.size
        place = whole.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            side = int(min(place.size) * chance.uniform(0.6, 1.0))
            x, y = (int(chance.integers(0, most - side + 1)) for most in place.size)
            photo = place.crop((x, y, x + side, y + side)).resize((240, 240))
            photo = ImageEnhance.Brightness(photo).enhance(chance.uniform(0.8, 1.2))
            if hard:
                photo = photo.rotate(chance.uniform(-60, 60)).filter(ImageFilter.GaussianBlur(chance.uniform(0, 4)))
            photo.save(folder / name / f"{number:03}.jpg", quality=90)
