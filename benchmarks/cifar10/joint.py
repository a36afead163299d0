"""`python -m benchmarks.cifar10.joint`: many corrections at once, real mispredictions with their true labels.

Corrections are drawn from the test images that the root gets wrong; an edit is judged on *all other* test images, on
eight views of each corrected image that were never fitted, and on views of six other families. Editors may fit to
10,000 training images (reference) and set thresholds on the 10,000 validation images (calibration), on which the root
was not trained, unless somebody brings one that was. Draws and finished rows are kept in the cache: stop and start it
at any time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.cifar10.data import VIEWS, Cifar10, load_cifar10
from benchmarks.cifar10.models import plain_model
from benchmarks.cifar10.resnet import read_root
from benchmarks.large_scale.other_views import FAMILIES, other_views
from benchmarks.report import environment, markdown
from benchmarks.rows import add_line, read_lines
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.metrics import PairedOutcomes, bootstrap_mean, compare_predictions, generalization
from errata.editing.model import EditableModel, batched_features
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.sequential import Sequential
from errata.editing.training.plain import predict
from errata.editing.types import Constraint, Editor, EditResult
from errata.editing.views import unseen_views

REFERENCE = 10_000
DRAWS = {1: 20, 10: 8, 50: 4, 125: 3, 500: 3, 1000: 3}  # independent draws of k mispredictions


def views(fitting: int) -> ViewSettings:
    """So many fitted views, drawn like those that generalization is measured on."""
    return VIEWS.model_copy(update={"fitting": fitting})


@dataclass(frozen=True)
class Contender:
    """An editor and the largest k it is run at (a gradient editor's cost grows where a patch's does not)."""

    name: str
    make: Callable[[], Editor[Any]]
    most: int
    figure: str


CONTENDERS = (
    Contender("calibrated patch", lambda: CalibratedPatch(views=VIEWS), 1000, "o"),
    Contender("calibrated patch, margin 0.5", lambda: CalibratedPatch(views=VIEWS, margin=0.5), 1000, "v"),
    Contender("calibrated patch, margin 6", lambda: CalibratedPatch(views=VIEWS, margin=6.0), 1000, "^"),
    Contender("calibrated patch, alpha 0.03%", lambda: CalibratedPatch(views=VIEWS, alpha=3e-4), 1000, "s"),
    Contender("calibrated patch, one view", lambda: CalibratedPatch(views=views(1)), 1000, "x"),
    Contender("natural gradient, chain 4", lambda: NaturalGradient(Scope("chain4")), 125, "D"),
    Contender("natural gradient, chain 4, 9 views", lambda: NaturalGradient(
        Scope("chain4"), views=views(9)), 10, "d"),
    Contender("RMSProp, chain 3", lambda: GradientEditor(RMSProp(1e-4), Scope("chain3"), steps=50), 125, "*"),
    Contender("calibrated patch, one after the other", lambda: Sequential(CalibratedPatch(views=VIEWS)), 125, "P"),
    Contender("natural gradient, chain 4, one after the other", lambda: Sequential(
        NaturalGradient(Scope("chain4"))), 125, "h"),
    Contender("RMSProp, chain 3, one after the other", lambda: Sequential(
        GradientEditor(RMSProp(2e-4), Scope("chain3"))), 125, "X"),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One edit of k corrections. Rates are shares of the `judged` images; `shares`, of views of the fitted family, and
    `families`, of views of others: one for each correction."""

    k: int
    held: int
    deferred: int
    fallbacks: int
    judged: int
    error_before: float
    error_after: float
    negative_flips: int
    positive_flips: int
    shares: tuple[float, ...]
    families: tuple[float, ...]
    seconds: float


def outcome(result: EditResult, paired: PairedOutcomes, seen: Tensor, expected: Tensor) -> Outcome:
    """What an edit came to: `paired` on judged images, `seen` `[k, views]` the classes of views of both sorts, those of
    the fitted family first, which are `expected` `[k]`."""
    fitted, others = (
        tuple(generalization(part.numpy(), expected.numpy()).tolist())
        for part in seen.split((VIEWS.unseen, len(FAMILIES)), dim=1)
    )
    return Outcome(
        len(result.holds),
        sum(result.holds),
        len(result.deferred),
        result.fallbacks,
        paired.n,
        paired.error_before,
        paired.error_after,
        paired.negative_flips,
        paired.positive_flips,
        fitted,
        others,
        result.seconds,
    )


def with_room(root: EditableModel, slots: int) -> EditableModel:
    """The same network with at least so many slots, all of them empty."""
    if root.spec.slots >= slots:
        return root
    found = EditableModel(replace(root.spec, slots=slots), root.backbone, root.head)
    return found.eval()


@dataclass(frozen=True)
class Joint:
    """What every row is measured with; `wrong` are the positions of the root's errors in the test split."""

    root: EditableModel
    data: Cifar10
    features: Tensor
    wrong: Tensor

    @staticmethod
    def of(root: EditableModel, data: Cifar10) -> Joint:
        root = with_room(root, max(DRAWS))
        features = batched_features(root, data.test.images)
        with torch.no_grad():
            found = root.classify(features).argmax(1)
        return Joint(root, data, features, (found != data.test.labels).nonzero()[:, 0])

    def draw(self, k: int, number: int) -> Tensor:
        """Positions `[k]` of the mispredictions of one draw."""
        generator = torch.Generator().manual_seed(1000 * k + number)
        return self.wrong[torch.randperm(len(self.wrong), generator=generator)[:k]]

    def predictions(self, model: EditableModel) -> Tensor:
        """Predicted classes of all test images; features are computed again only where the backbone changed."""
        ours, theirs = self.root.backbone.state_dict(), model.backbone.state_dict()
        if all(torch.equal(ours[name], theirs[name]) for name in ours):
            with torch.no_grad():
                return model.classify(self.features).argmax(1)
        return predict(model, self.data.test.images).argmax(1)

    def run(self, editor: Editor[Any], state: object, k: int, number: int) -> Outcome:
        """Correct one draw, and judge it."""
        chosen = self.draw(k, number)
        images, labels = self.data.test.images, self.data.test.labels
        constraints = [Constraint(images[one], int(labels[one]), f"{one:05}") for one in chosen.tolist()]
        result = editor.edit(self.root, constraints, state)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[chosen] = False
        before, after = self.predictions(self.root)[rest], self.predictions(result.model)[rest]
        paired = compare_predictions(before.numpy(), after.numpy(), labels[rest].numpy())
        views = torch.cat([
            torch.cat([unseen_views(images[one], VIEWS), other_views(images[one])]) for one in chosen.tolist()
        ])  # fmt: skip
        seen = predict(result.model, views).argmax(1).reshape(k, -1)
        return outcome(result, paired, seen, labels[chosen])


def read_outcome(line: dict[str, Any]) -> Outcome:
    """An outcome as a row's file has it."""
    return Outcome(**{**line, "shares": tuple(line["shares"]), "families": tuple(line["families"])})


def measured(joint: Joint, contender: Contender, path: Path, sizes: Sequence[int]) -> list[Outcome]:
    """All outcomes of one editor, those in `path` (JSON Lines) read, the others run and appended."""
    editor = contender.make()
    header = {"editor": repr(editor), "views": repr(VIEWS), "families": FAMILIES, "errors": len(joint.wrong)}
    found = [read_outcome(one) for one in read_lines(path, header)]
    state: object = None
    for k in (size for size in sizes if size <= min(contender.most, len(joint.wrong))):
        for number in range(sum(one.k == k for one in found), DRAWS[k]):
            if state is None:
                reference = joint.data.train.images[:REFERENCE]
                state = editor.prepare(joint.root, reference, joint.data.validation.images)
            found.append(joint.run(editor, state, k, number))
            add_line(path, header, found[-1])
            print(f"{contender.name}: k {k} draw {number}: {words(found[-1:])}", flush=True)
    return found


def words(outcomes: Sequence[Outcome]) -> list[str]:
    """Cells of the table from "hold" on, over the draws of one k."""

    def spread(values: Sequence[float], digits: int) -> str:
        middle = f"{100 * float(np.mean(values)):.{digits}f}%"
        if len(values) == 1:
            return middle
        return f"{middle} ({100 * min(values):.{digits}f} to {100 * max(values):.{digits}f})"

    def views(shares: Sequence[float]) -> str:
        found = bootstrap_mean(np.array(shares), resamples=2000)
        return f"{100 * found.mean:.1f}% [{100 * found.low:.1f}, {100 * found.high:.1f}]"

    mistakes = [max(1, round(one.error_before * one.judged)) for one in outcomes]
    return [
        spread([one.held / one.k for one in outcomes], 1),
        str(sum(one.deferred for one in outcomes)),
        str(sum(one.fallbacks for one in outcomes)),
        f"{100 * np.mean([one.error_before for one in outcomes]):.2f} -> "
        f"{100 * np.mean([one.error_after for one in outcomes]):.2f}%",
        spread([one.negative_flips / one.judged for one in outcomes], 3),
        spread([one.positive_flips / one.judged for one in outcomes], 3),
        views([share for one in outcomes for share in one.shares]),
        views([share for one in outcomes for share in one.families]),
        spread([one.positive_flips / count for one, count in zip(outcomes, mistakes, strict=True)], 1),
        f"{np.mean([one.seconds for one in outcomes]):.1f}",
    ]


HEADINGS = ("editor", "k", "draws", "hold", "deferred", "fallbacks", "error before -> after", "negative flips",
            "positive flips", "unseen views", "other families", "other mistakes right", "seconds")  # fmt: skip


def draw_frontier(rows: dict[str, list[Outcome]], path: Path) -> None:
    """Negative flips against generalization: every editor a line through its values of k."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    for contender in CONTENDERS:
        outcomes = rows.get(contender.name, [])
        if not outcomes:
            continue
        sizes = sorted({one.k for one in outcomes})
        groups = [[one for one in outcomes if one.k == k] for k in sizes]
        flips = [100 * float(np.mean([one.negative_flips / one.judged for one in group])) for group in groups]
        shares = [100 * float(np.mean([share for one in group for share in one.shares])) for group in groups]
        axes.plot(flips, shares, contender.figure, linestyle="-", linewidth=0.8, markersize=6, label=contender.name)
        last = (flips[-1], shares[-1])
        axes.annotate(str(sizes[-1]), last, textcoords="offset points", xytext=(5, 4), fontsize=7)
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(left=-0.001)
    axes.set_ylim(0, 105)  # room for a number above 100%
    axes.set_xticks([0, 0.01, 0.1, 1, 10], ["0", "0.01%", "0.1%", "1%", "10%"])
    axes.set_xlabel("negative flips on all other test images (better to the left)")
    axes.set_ylabel("generalization to unseen views, % (better to the top)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    axes.set_title("Joint corrections, numbers at the ends: how many at once", fontsize=10)
    figure.savefig(path, dpi=130, metadata={"Software": ""})
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10.joint", description=__doc__)
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18")
    parser.add_argument("--root", default="", help="a folder of `save_model`, or FILE:BLOCKS, instead of its own")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="to train on")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(DRAWS), choices=list(DRAWS))
    parser.add_argument("--only", nargs="+", default=[one.name for one in CONTENDERS], help="which editors to run")
    chosen = parser.parse_args(arguments)
    data = load_cifar10(chosen.data_root)
    name = Path(chosen.root.split(":")[0]).stem if chosen.root else str(chosen.width)
    folder = chosen.cache / f"plain-{chosen.width}"
    root = read_root(chosen.root) if chosen.root else plain_model(folder, chosen.width, data, chosen.device)
    joint = Joint.of(root, data)
    kept = chosen.cache / f"joint-{name}"
    rows: dict[str, list[Outcome]] = {}
    for contender in CONTENDERS:
        sizes = chosen.sizes if contender.name in chosen.only else []
        rows[contender.name] = measured(joint, contender, kept / f"{contender.name}.jsonl", sizes)
    table = [
        [name, str(k), str(len(group)), *words(group)]
        for name, outcomes in rows.items()
        for k in sorted({one.k for one in outcomes})
        if (group := [one for one in outcomes if one.k == k])
    ]
    chosen.out.mkdir(parents=True, exist_ok=True)
    draw_frontier(rows, chosen.out / f"joint-{name}.png")
    title = f"# Joint corrections, {name if chosen.root else f'ResNet-18 of width {name}'}\n\n"
    text = f"{environment(chosen.device)} The root makes {len(joint.wrong)} errors on the 10,000 test images.\n\n"
    picture = f"\n![Negative flips against generalization](joint-{name}.png)\n"
    (chosen.out / f"joint-{name}.md").write_text(title + text + markdown(HEADINGS, table) + picture)


if __name__ == "__main__":
    main()
