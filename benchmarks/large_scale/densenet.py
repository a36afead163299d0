"""`python -m benchmarks.large_scale.densenet --data CIFAR --photos FOLDER --out MODEL`: a DenseNet trained here.

No package ships the weights of a DenseNet for ImageNet, so the paper's second architecture is a small one for CIFAR-10
(Huang et al. 2017: bottlenecks and compression, torchvision's blocks), 304,000 parameters, its first convolution with
a stride of 2 for speed. Writes CIFAR-10 (`--data`: as torchvision keeps it, downloaded if it is not there) as a folder
of PNG files for each class, and trains on the part `train` of them, which `benchmarks.large_scale --root FOLDER --model
MODEL --side 32` with the same `--sizes` takes for training too, and for nothing else. To be resumed after any epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.cifar10.data import CLASSES, MEAN, STD
from benchmarks.large_scale.photos import split_photos
from errata.editing.model import EditableModel, ModelSpec, save_model
from errata.editing.networks.architectures import GlobalMean, register
from errata.editing.settings import TrainingSettings
from errata.editing.training.plain import Epoch, train
from errata.editing.vision import torchvision

SIZES = (4000, 200, 200, 500, 400)  # photos of each class, of 6,000


@register("small-densenet")
def small_densenet(
    classes: int, image_shape: tuple[int, int, int], growth: int = 16, layers: str = "4-6-8"
) -> tuple[nn.Module, nn.Linear]:
    """DenseNet-BC of `layers` in each block, `growth` channels a layer, for small images."""
    blocks = tuple(int(count) for count in layers.split("-"))
    whole = torchvision.models.DenseNet(growth, blocks, num_init_features=2 * growth, num_classes=classes)
    whole.features.conv0 = nn.Conv2d(image_shape[2], 2 * growth, 3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(whole.features.conv0.weight)
    del whole.features.pool0
    return nn.Sequential(whole.features, nn.ReLU(), GlobalMean()), whole.classifier


def write_photos(data: Path, folder: Path) -> None:
    """CIFAR-10's 60,000 images as `FOLDER/CLASS/PART-NUMBER.png`; those that are there stay."""
    for part in ("train", "test"):
        images = torchvision.datasets.CIFAR10(str(data), train=part == "train", download=True)
        for number, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
            path = folder / CLASSES[label] / f"{part}-{number:05}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.asarray(pixels)).save(path, compress_level=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the photos, train, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_scale.densenet", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs=5, default=SIZES)
    chosen = parser.parse_args(arguments)
    write_photos(chosen.data, chosen.photos)
    classes, photos = split_photos(chosen.photos, chosen.sizes)
    learned = photos["train"]
    images = torch.stack([learned.image(row, 32) for row in range(len(learned.paths))])
    torch.manual_seed(0)
    model = EditableModel.from_spec(ModelSpec("small-densenet", classes, (32, 32, 3), MEAN, STD, {}, 1))
    settings = TrainingSettings(
        epochs=chosen.epochs, batch=128, learning_rate=0.2, shift=4, flip=True, precision="bfloat16"
    )
    chosen.out.mkdir(parents=True, exist_ok=True)

    def said(epoch: Epoch) -> None:
        print(f"epoch {epoch.number}: loss {epoch.loss:.3f} ({epoch.seconds:.0f} s)", flush=True)

    train(model, images, learned.labels, settings, said, resume=chosen.out / "training.pt")
    save_model(model, chosen.out)


if __name__ == "__main__":
    main()
