"""`python -m benchmarks.night digits`, `cifar` or `photos`: what a night costs, by step, wall and processor seconds.

`digits`: 20 reports of what the digits demonstration's root gets wrong: in its traffic, and the rest of them views of
traffic images in worse light with more noise.

`cifar --data ROOT`: 400 claims, 45% of them wrong, against a ResNet-18 of width 16 with 9,000 control images. The root
is trained by `errata train`'s own code, once, and kept in `--folder`. Claims are about images that no split holds. A
right one names the true class of an image that the root gets wrong. A wrong one is a person's error, and like people's
errors it falls on what looks alike: with `--human CIFAR-10_human.pt` (CIFAR-10N, Wei et al. 2022, CC BY-NC 4.0, for
measuring only) it is a label that somebody really gave to that image; without, a class drawn in proportion to the
root's own probabilities. Everybody is believed (`trust.doubt_one: 1`): this measures editing, gate and deferral at
their worst.

`photos --data FOLDER`: 100 reports against EfficientNet-Lite0 with 10,000 control photos (the extra `photos`). FOLDER
has a folder of photos for each class, called as ImageNet calls it, 10,500 photos or more, of 50 classes say. Reports
are about traffic, as on the digits.

The night that is measured is the second on its root: one with a single correction went before it, on the same machine.
Each repetition is that night again, on a fresh copy of workspace and store. Processor seconds count every process that
the night started; on a machine with other work only they repeat.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import yaml

from benchmarks.doubt.people import human_labels
from benchmarks.report import environment, markdown
from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.manifest import read_live
from errata.data.reports import file_report
from errata.data.splits import load_split, read_record
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.export import OnnxClassifier
from errata.editing.settings import ViewSettings
from errata.editing.tensors import tensor_of
from errata.editing.views import unseen_views
from errata.flows.cli.demo import live_classifier
from errata.flows.night.new_root import train_new_root
from errata.flows.night.run import run_night
from errata.flows.night.state import Night
from errata.flows.night.step import Arguments, Result, Step
from errata.flows.night.summary import NightSummary
from errata.flows.stages.handover import warm_stages
from errata.flows.workspace import Workspace

REPOSITORY = Path(__file__).parents[1]
BAD_LIGHT = ViewSettings(unseen=1, max_shift=0.0, light=0.3, noise=0.1)
CLAIMS, WRONG = 400, 0.45
HUMAN_LABELLED = 50_000  # CIFAR-10N tells of the training images, which come first in the data set
CIFAR = {
    "seed": 0,
    "data": {
        "dataset": "cifar10",
        "splits": {
            "train": 40_000, "reference": 2000, "calibration": 3000, "gate": 3000, "test": 1000, "traffic": 0,
        },
    },
    "model": {
        "arguments": {"width": 16, "blocks": 2}, "mean": [0.491, 0.482, 0.447], "std": [0.247, 0.244, 0.262],
        "slots": 1024,
    },
    "train": {
        "method": "plain", "epochs": 4, "batch": 128, "learning_rate": 0.2, "shift": 4, "flip": True,
        "precision": "bfloat16",
    },
    "views": {"max_shift": 0.08, "flip": True},
    "edit": {},
    "gate": {"drawdown": 0.01, "negative_flips": 0.01, "recall_drop": 0.1, "boundary_flips": 0.05, "accuracy": 0.6},
    "trust": {"doubt_one": 1.0},
    "deferral": {},
    "approval": {},
}  # fmt: skip


PHOTOS = {
    "seed": 0,
    "data": {
        "dataset": "folder", "image_shape": [224, 224, 3],
        "splits": {
            "train": 100, "reference": 3000, "calibration": 3000, "gate": 3500, "test": 500, "traffic": 400,
        },
    },
    "model": {"architecture": "efficientnet_lite0", "slots": 256},
    "train": {}, "views": {"max_shift": 0.06, "flip": True}, "edit": {},
    "gate": {"drawdown": 0.01, "negative_flips": 0.01, "recall_drop": 0.2, "boundary_flips": 0.05, "accuracy": 0.4},
    "trust": {"trusted": ["traffic"]},
    "deferral": {},
    "approval": {},
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A workspace and a store in one folder."""

    folder: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.folder / "workspace")

    @property
    def storage(self) -> LocalStorage:
        return LocalStorage(self.folder / "store")

    def night(self) -> Night:
        return Night(self.storage, self.workspace, "benchmark", print)

    def copied_to(self, folder: Path) -> Place:
        shutil.copytree(self.folder, folder, symlinks=True)
        return Place(folder)


@dataclass(frozen=True)
class Claim:
    """An image, what it should be, and what it was predicted as."""

    image: np.ndarray
    expected: str
    predicted: str


@dataclass
class Clock:
    """A runner of steps that adds up each one's wall and processor seconds, by name."""

    seconds: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0.0, 0.0]))

    def __call__(self, step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        wall, processor = time.perf_counter(), processor_seconds()
        try:
            return step(*args, **kwargs)
        finally:
            row = self.seconds[step.name]
            row[0] += 1
            row[1] += time.perf_counter() - wall
            row[2] += processor_seconds() - processor


def processor_seconds() -> float:
    """Of this process and of all that it started, and those started."""
    total = 0.0
    for process in (own := psutil.Process(), *own.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own, and of those that have ended
        except psutil.NoSuchProcess:
            continue
    return total


def make_place(folder: Path, params: dict[str, object] | None) -> Place:
    """A root trained and released in `folder`, and one correction of it: made once, then found there."""
    place = Place(folder)
    (place.workspace.folder / ".dvc").mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", ".dvc/config", ".dvcignore"):
        shutil.copy(REPOSITORY / name, place.workspace.folder / name)
    (place.workspace.folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    content = (REPOSITORY / "params.yaml").read_text() if params is None else yaml.safe_dump(params, sort_keys=False)
    (place.workspace.folder / "params.yaml").write_text(content)
    if not (folder / "store").is_dir() or read_live(place.storage) is None:
        summary = train_new_root(place.night())
        if summary.outcome != "released":
            raise SystemExit(f"the root was not released: {summary.sentence}")
    return place


def with_root(params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The parameters, with the data in `folder`."""
    return {**params, "data": {**params["data"], "root": str(folder.resolve())}}


def traffic_claims(place: Place, count: int) -> list[Claim]:
    """What the live file gets wrong in the traffic and, to make up the number, in views of it."""
    traffic = load_split(place.workspace.splits, "traffic")
    _, classifier = live_classifier(place.storage)
    names, found = traffic.classes, list[Claim]()
    for draw in range(2):
        images = traffic.images
        if draw:
            images = np.stack([unseen_views(tensor_of(one), BAD_LIGHT, seed=7)[0].numpy() for one in images])
        predicted = classifier.predict(images).logits.argmax(1)
        wrong = np.flatnonzero(predicted != traffic.labels)
        found += [Claim(images[one], names[traffic.labels[one]], names[predicted[one]]) for one in wrong]
    return found[:count]


def cifar_claims(place: Place, data: LabelledImages, human: Path | None) -> list[Claim]:
    """Right and wrong claims about images that no split holds, in an order of chance."""
    held = {
        pixel_digest(image)
        for name in read_record(place.workspace.splits).splits
        for image in load_split(place.workspace.splits, name).images
    }
    free = np.array([index for index, image in enumerate(data.images) if pixel_digest(image) not in held])
    predictions = OnnxClassifier(place.workspace.root / "root.onnx").predict(data.images[free])
    predicted, truth = predictions.logits.argmax(1), data.labels[free]
    rng = np.random.default_rng(0)
    said = np.full(len(free), -1)
    if human is not None:
        true, labels = human_labels(human, HUMAN_LABELLED)
        if (true != data.labels[:HUMAN_LABELLED]).any():
            raise SystemExit("the human labels are not of these images")
        known = free < HUMAN_LABELLED
        said[known] = labels[free[known], 0]
    else:
        chances = predictions.probabilities.astype(np.float64)
        chances[np.arange(len(free)), truth] = 0
        chances /= chances.sum(axis=1, keepdims=True)
        said = np.array([rng.choice(len(data.classes), p=row) for row in chances])
    wrong = rng.permutation(np.flatnonzero((said >= 0) & (said != truth) & (said != predicted)))
    right = rng.permutation(np.flatnonzero(truth != predicted))
    many = round(CLAIMS * WRONG)
    chosen = [(one, said[one]) for one in wrong[:many]]
    about = {one for one, _ in chosen}
    chosen += [(one, truth[one]) for one in right if one not in about][: CLAIMS - len(chosen)]
    if len(wrong) < many or len(chosen) < CLAIMS:
        raise SystemExit(f"there are only {len(chosen)} claims to be had, {min(len(wrong), many)} of them wrong")
    names = data.classes
    return [
        Claim(data.images[free[one]], names[claimed], names[predicted[one]])
        for one, claimed in (chosen[place] for place in rng.permutation(len(chosen)))
    ]


def report(place: Place, claims: list[Claim], trusted: str = "") -> None:
    """File each claim, under a name of its own or under that of who is `trusted`."""
    for number, each in enumerate(claims):
        file_report(
            place.storage,
            encode_png(each.image),
            each.expected,
            predicted=each.predicted,
            reporter=trusted or f"person {number}",
        )


def measure(place: Place, claims: list[Claim], trusted: str, repeats: int) -> tuple[list[Clock], list[NightSummary]]:
    """The night of these claims, `repeats` times, each on a copy of the place."""
    clocks, summaries = [], []
    for _ in range(repeats):
        with TemporaryDirectory(prefix="errata-night-") as temporary:
            copy = place.copied_to(Path(temporary) / "place")
            report(copy, claims, trusted)
            clock = Clock()
            wall, processor = time.perf_counter(), processor_seconds()
            with warm_stages():
                summaries.append(run_night(copy.night(), clock))
            clock.seconds["the night"] = [1, time.perf_counter() - wall, processor_seconds() - processor]
            clocks.append(clock)
            print(json.dumps(clock.seconds), summaries[-1].outcome, summaries[-1].sentence, flush=True)
    return clocks, summaries


def table(clocks: list[Clock]) -> str:
    """A row a step: how often it ran, median seconds and their range."""
    rows = []
    for name in clocks[0].seconds:
        calls, walls, processors = zip(*(clock.seconds[name] for clock in clocks), strict=True)
        rows.append([name, f"{calls[0]:.0f}", spread(walls), spread(processors)])
    return markdown(("step", "times", "wall s", "processor s"), rows)


def spread(values: tuple[float, ...]) -> str:
    """`median [least, most]`, or the one value."""
    middle = f"{statistics.median(values):.1f}"
    return middle if len(values) == 1 else f"{middle} [{min(values):.1f}, {max(values):.1f}]"


def main() -> None:
    """Measure, and print what belongs into docs/results/night.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("digits", "cifar", "photos"))
    parser.add_argument("--folder", type=Path, default=Path("artifacts/benchmarks/night"), help="keeps the roots")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10, as torchvision keeps it, or of photos")
    parser.add_argument("--human", type=Path, help="CIFAR-10_human.pt of CIFAR-10N")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve() / arguments.which
    if arguments.which == "digits":
        place, trusted = make_place(folder, None), "traffic"
        claims = traffic_claims(place, 21)
    elif arguments.data is None:
        parser.error(f"{arguments.which} needs --data")
    elif arguments.which == "photos":
        place, trusted = make_place(folder, with_root(PHOTOS, arguments.data)), "traffic"
        claims = traffic_claims(place, 101)
    else:
        place, trusted = make_place(folder, with_root(CIFAR, arguments.data)), ""
        claims = cifar_claims(place, load_dataset("cifar10", arguments.data.resolve()), arguments.human)
    with TemporaryDirectory(prefix="errata-night-") as temporary:
        before = place.copied_to(Path(temporary) / "before")
        report(before, claims[-1:], trusted)
        run_night(before.night())
        clocks, summaries = measure(before, claims[:-1], trusted, arguments.repeats)
    last = summaries[-1]
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 2**20
    print(f"\n{environment('cpu')} {len(clocks)} nights; at most {most:.1f} GiB in one process.\n")
    print(table(clocks))
    left_out = f"{last.corrections} of {last.reports} claims in, {len(last.deferred)} left out"
    print(f"{last.outcome}: {left_out}. {last.sentence}")


if __name__ == "__main__":
    main()
