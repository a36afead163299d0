"""Goal: features of 100,000 images on Ray cost at most 10% more than a plain loop, with one worker and with two.

    python -m benchmarks.engines                 two rounds of 50,000 images (the extra `scale`: `make scale`)

A ResNet-18 of width 16 with random weights, images of 32 x 32 of noise, one thread for each worker. In each round the
same images go through a plain loop over the network, through `editing.features` in this process, and through it on Ray
with one and two workers; every second round in the opposite order. All must give the same bits. A cluster is started,
and a batch for each worker computed on it, before the clock runs. Overhead is wall time by the plain loop's, times
workers. Processor seconds count the cluster's processes too: on a machine with other work only they repeat.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.intake import engine_of
from benchmarks.night import processor_seconds
from benchmarks.report import environment, markdown
from errata.editing.batches import at_once
from errata.editing.features import Features
from errata.editing.model import EditableModel, ModelSpec

SHAPE = (32, 32, 3)
WAYS = ("plain loop", "this process", "Ray, 1 worker", "Ray, 2 workers")


def network() -> EditableModel:
    """The same one each time."""
    torch.manual_seed(0)
    arguments: dict[str, int | float | str | bool] = {"width": 16, "blocks": 2}
    classes = tuple(f"class {number}" for number in range(10))
    return EditableModel.from_spec(ModelSpec("resnet", classes, SHAPE, (0.5,) * 3, (0.25,) * 3, arguments)).eval()


@torch.no_grad()
def plain_loop(model: EditableModel, images: Tensor) -> Tensor:
    """Features `[n, d]`, batch by batch."""
    return torch.cat([model.features(part) for part in images.split(at_once(SHAPE))])


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """What the work gave, its wall and its processor seconds."""
    wall, processor = time.perf_counter(), processor_seconds()
    return work(), time.perf_counter() - wall, processor_seconds() - processor


def measured(way: str, model: EditableModel, images: Tensor) -> tuple[Tensor, float, float]:
    """One of the `WAYS`: features, wall and processor seconds."""
    if way == "plain loop":
        return timed(lambda: plain_loop(model, images))
    workers = int(way.split()[1]) if way.startswith("Ray") else 0
    with engine_of(workers) as engine:
        features = Features(engine=engine)
        features.of(model, images[: max(1, 2 * workers) * at_once(SHAPE)])
        return timed(lambda: features.of(model, images))


def main() -> None:
    """Measure, and print what belongs into docs/scale.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, generator = network(), torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (given.images, *SHAPE), dtype=torch.uint8, generator=generator)
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    expected: Tensor | None = None
    for number in range(given.rounds):
        for way in reversed(WAYS) if number % 2 else WAYS:
            found, wall, processor = measured(way, model, images)
            if expected is not None and not torch.equal(found, expected):
                raise SystemExit(f"{way} gave other features")
            expected = found
            seconds[way].append((wall, processor))
            print(f"round {number + 1}, {way}: {wall:.1f} s, {processor:.1f} processor s", flush=True)
    rows = []
    for way, rounds in seconds.items():
        workers = int(way.split()[1]) if way.startswith("Ray") else 1
        pairs = zip(rounds, seconds["plain loop"], strict=True)
        over = [workers * mine[0] / plain[0] - 1 for mine, plain in pairs]
        wall, processor = (statistics.median(column) for column in zip(*rounds, strict=True))
        spread = f"{statistics.median(over):+.1%} [{min(over):+.1%}, {max(over):+.1%}]"
        rows.append([way, f"{wall:.1f}", f"{processor:.1f}", f"{given.images / wall:.0f}", spread])
    print(f"\n{environment('cpu')} {given.rounds} rounds of {given.images:,} images.\n")
    print(markdown(("way", "wall s", "processor s", "images/s", "overhead"), rows))


if __name__ == "__main__":
    main()
