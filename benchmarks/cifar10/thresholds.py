"""`python -m benchmarks.cifar10.thresholds`: how far thresholds are raised towards the scores of views (`edit.tau`).

    python -m benchmarks.cifar10.thresholds --cifar ROOT --root MODEL

Corrections are real mispredictions with their true labels, all those of a part at once (at most 500), judged on the
part's other images and on eight views of each that were never fitted. Settings are chosen on the validation part; the
test part is then measured with the choice and without. Nothing falls back to the head: what no slot holds is counted as
deferred. Finished rows are kept in the cache.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.cifar10.data import VIEWS, Images, load_cifar10
from benchmarks.report import environment, markdown
from errata.data.datasets import load_dataset
from errata.data.splits import make_splits
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.features import Features
from errata.editing.metrics import compare_predictions, generalization
from errata.editing.model import EditableModel, ModelSpec, batched_features, load_model
from errata.editing.settings import TrainingSettings, ViewSettings
from errata.editing.training.plain import predict, train
from errata.editing.types import Constraint
from errata.editing.views import unseen_views

TAUS, QUANTILES = (0.15, 0.3, 0.5), (0.1, 0.25, 0.5)
SEEDS = 5  # roots for digits
MOST = 500  # corrections at once
CHOSEN = (0.3, 0.25)
HEADINGS = ("images", "part", "tau", "quantile", "parts", "corrections", "hold", "deferred", "negative flips",
            "positive flips", "reach", "generalization")  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A root, what its patch is fitted to and calibrated on, and labelled images that its mistakes are drawn from."""

    name: str
    root: EditableModel
    reference: torch.Tensor
    calibration: torch.Tensor
    pool: Images
    views: ViewSettings


@dataclass(frozen=True)
class Outcome:
    """What one joint edit came to; flips and reach are counted among the `judged` images that were not corrected."""

    corrections: int
    held: int
    deferred: int
    judged: int
    negative: int
    positive: int
    reached: int
    general: float


def measure(part: Part, tau: float, quantile: float) -> Outcome:
    """Correct the mistakes of the part, and judge it."""
    with torch.no_grad():
        hidden = batched_features(part.root, part.pool.images)
        before = part.root.classify(hidden).argmax(1)
    wrong = (before != part.pool.labels).nonzero()[:, 0][:MOST]
    constraints = [Constraint(part.pool.images[one], int(part.pool.labels[one]), f"{one:05}") for one in wrong.tolist()]
    features = Features()
    editor = CalibratedPatch(views=part.views, tau=tau, tau_quantile=quantile, features=features)
    result = editor.edit(part.root, constraints, editor.prepare(part.root, part.reference, part.calibration))
    rest = torch.ones(len(before), dtype=torch.bool)
    rest[wrong] = False
    with torch.no_grad():
        after = result.model.classify(hidden).argmax(1)
        fires = (result.model.patch.activations(hidden) > 0).any(1)
    paired = compare_predictions(before[rest].numpy(), after[rest].numpy(), part.pool.labels[rest].numpy())
    views = torch.cat([unseen_views(each.image, part.views) for each in constraints])
    seen = predict(result.model, views).argmax(1).reshape(len(constraints), -1)
    share = generalization(seen.numpy(), part.pool.labels[wrong].numpy()).mean()
    counts = (len(wrong), sum(result.holds), len(result.deferred), paired.n)
    flips = (paired.negative_flips, paired.positive_flips, int(fires[rest].sum()))
    return Outcome(*counts, *flips, float(share))


def digits(seed: int) -> Iterator[Part]:
    """A small network that has learned 150 digits, so that it errs: its validation part and its test part."""
    dataset = load_dataset("digits")
    sizes = {"train": 150, "reference": 250, "calibration": 400, "validation": 498, "test": -1}
    parts = {
        name: Images(torch.from_numpy(each.images), torch.from_numpy(each.labels))
        for name, each in make_splits(dataset, sizes, seed).items()
    }
    torch.manual_seed(seed)
    spec = ModelSpec("resnet", dataset.classes, (8, 8, 1), (0.3,), (0.38,), {"width": 16, "blocks": 1})
    model = EditableModel.from_spec(spec)
    train(model, parts["train"].images, parts["train"].labels, TrainingSettings(epochs=30), seed=seed)
    for name in ("validation", "test"):
        yield Part(
            f"digits/{name}/{seed}",
            model.eval(),
            parts["reference"].images,
            parts["calibration"].images,
            parts[name],
            ViewSettings(),
        )


def cifar(folder: Path, root: Path) -> Iterator[Part]:
    """Each half of the validation images with thresholds from the other; and the test images."""
    data, model = load_cifar10(folder), load_model(root).eval()
    reference, known = data.train.images[:10_000], data.validation
    halves = [slice(0, 5000), slice(5000, None)]
    for number, (pool, rest) in enumerate((halves, halves[::-1])):
        images = Images(known.images[pool], known.labels[pool])
        yield Part(f"CIFAR-10/validation/{number}", model, reference, known.images[rest], images, VIEWS)
    yield Part("CIFAR-10/test/0", model, reference, known.images, data.test, VIEWS)


def kept(path: Path, make: Callable[[], Outcome]) -> Outcome:
    """An outcome in `path`, measured if it is not there."""
    if not path.exists():
        found = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(found)) + "\n")
        print(f"{path}: {found}", flush=True)
    return Outcome(**json.loads(path.read_text()))


def row(images: str, part: str, setting: tuple[float, float], found: Sequence[Outcome]) -> list[str]:
    """The cells of one setting, over the parts of one name; rates are of all of them together."""
    count, judged = sum(one.corrections for one in found), sum(one.judged for one in found)

    def share(name: str) -> str:
        return f"{100 * sum(getattr(one, name) for one in found) / judged:.3f}%"

    return [
        images,
        part,
        f"{setting[0]:g}",
        f"{setting[1]:g}" if setting[0] else "-",
        str(len(found)),
        str(count),
        f"{100 * sum(one.held for one in found) / count:.1f}%",
        str(sum(one.deferred for one in found)),
        share("negative"),
        share("positive"),
        share("reached"),
        f"{100 * np.average([one.general for one in found], weights=[one.corrections for one in found]):.1f}%",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.thresholds", description=__doc__)
    parser.add_argument("--cifar", type=Path, default=None, help="the folder of CIFAR-10; without it digits alone")
    parser.add_argument("--root", type=Path, default=None, help="a saved network that has learned its first 40,000")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/thresholds"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    chosen = parser.parse_args(arguments)
    parts = [part for seed in range(SEEDS) for part in digits(seed)]
    parts += cifar(chosen.cifar, chosen.root) if chosen.cifar else ()
    grid = [(0.0, 0.25), *((tau, quantile) for tau in TAUS for quantile in QUANTILES)]
    found: dict[tuple[str, str], dict[tuple[float, float], list[Outcome]]] = {}
    for part in parts:
        images, name, _ = part.name.split("/")
        for setting in grid if name == "validation" else (grid[0], CHOSEN):
            path = chosen.cache / part.name / f"{setting[0]}-{setting[1]}.json"
            outcome = kept(path, lambda part=part, setting=setting: measure(part, *setting))  # type: ignore[misc]
            found.setdefault((images, name), {}).setdefault(setting, []).append(outcome)
    rows = [row(*key, setting, each) for key, settings in found.items() for setting, each in settings.items()]
    chosen.out.mkdir(parents=True, exist_ok=True)
    title = "# Thresholds raised towards the views\n\n"
    command = "python -m benchmarks.cifar10.thresholds --cifar ROOT --root MODEL"
    text = f"{(__doc__ or '').split(chr(10) * 2)[2]}\n\nMade by `{command}`. {environment('cpu')}\n\n"
    (chosen.out / "thresholds-rows.md").write_text(title + text + markdown(HEADINGS, rows))


if __name__ == "__main__":
    main()
