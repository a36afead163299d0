"""`python -m benchmarks.large_scale.directions --root FOLDER`: how many directions of features slots need to look at.

FOLDER has a folder of photos for each class, called as ImageNet calls it; the network is EfficientNet-Lite0 with its
published weights, its outputs restricted to those classes. Corrections are photos that it gets wrong, all of a draw at
once. A draw is so many of them, and another split of the control photos: what slots look at is fitted to the reference
photos, thresholds are calibrated anew for each number of directions, and control photos tell reach and flips. Features
are kept in the cache: stop and start it at any time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.large_scale.bench import Case, KnownViews, OnFeatures
from benchmarks.large_scale.photos import PARTS, Photos, features_of, split_photos, through
from benchmarks.large_scale.roots import VIEWS, published
from benchmarks.report import environment, markdown
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel, fit_patch
from errata.editing.views import fitting_views, unseen_views

HEADINGS = ("directions", "corrections", "draws", "hold", "unseen views right", "reach", "negative flips")
CONTROLS, MISTAKES = ("train", "control"), ("pool", "reference", "calibration")  # of the parts of `split_photos`


@dataclass(frozen=True)
class Outcome:
    """Shares: of corrections that hold, of their unseen views that are right, of control photos on which a slot fires,
    and of those that were right and are wrong."""

    hold: float
    views: float
    reach: float
    flips: float


@dataclass(frozen=True)
class Controls:
    """Features `[n, d]` and classes `[n]` of control photos in a random order."""

    features: Tensor
    labels: Tensor

    def parts(self, sizes: Sequence[int], draw: int) -> list[Controls]:
        order = torch.randperm(len(self.labels), generator=torch.Generator().manual_seed(draw))[: sum(sizes)]
        return [Controls(self.features[rows], self.labels[rows]) for rows in order.split(list(sizes))]


def cases_of(network: EditableModel, photos: Photos, wrong: Tensor, side: int, cache: Path) -> list[Case]:
    """A case for each of the photos `wrong` `[k]`; features of its views are kept in `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for row in wrong.tolist():
        path = cache / f"{photos.paths[row].stem}.pt"
        if not path.exists():
            image = photos.image(row, side)
            views = torch.cat([fitting_views(image, VIEWS), unseen_views(image, VIEWS)])
            torch.save(through(network, views, side), path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        fitted, unseen = torch.load(path, weights_only=True).tensor_split((VIEWS.fitting,))
        none = fitted[:0]
        found.append(Case(path.stem, int(photos.labels[row]), fitted[0].clone(), fitted, unseen, none, none))
    return found


@torch.no_grad()
def run(network: EditableModel, directions: int, cases: Sequence[Case], controls: Sequence[Controls]) -> Outcome:
    """Correct all cases at once; `controls` are reference, calibration and control photos."""
    reference, calibration, control = controls
    spec = replace(network.spec, image_shape=(network.head.in_features, 1, 1), mean=(0.0,), std=(1.0,))
    root = OnFeatures(replace(spec, slots=len(cases)), nn.Sequential(), network.head).eval()
    root.look_at(directions or network.head.in_features)
    fit_patch(root, reference.features[:, :, None, None])
    editor = CalibratedPatch(views=VIEWS, features=KnownViews(cases))
    state = editor.prepare(root, reference.features[:, :, None, None], calibration.features[:, :, None, None])
    result = editor.edit(root, [constraint for case in cases for constraint in case.constraints(views=False)], state)
    before, after = root.classify(control.features).argmax(1), result.model.classify(control.features).argmax(1)
    fires = (result.model.patch.used().activations(control.features) > 0).any(1)
    right = [result.model.classify(case.unseen).argmax(1) == case.expected for case in cases]
    return Outcome(
        sum(result.holds) / len(cases),
        torch.cat(right).double().mean().item(),
        fires.double().mean().item(),
        ((before == control.labels) & (after != control.labels)).double().mean().item(),
    )


def cells(directions: int, count: int, outcomes: Sequence[Outcome]) -> list[str]:
    """A line of the table: means over draws, with the lowest and the highest."""

    def spread(name: str, digits: int) -> str:
        values = [100 * float(getattr(one, name)) for one in outcomes]
        mean = sum(values) / len(values)
        return f"{mean:.{digits}f}% ({min(values):.{digits}f} to {max(values):.{digits}f})"

    shown = [spread(name, digits) for name, digits in (("hold", 1), ("views", 1), ("reach", 2), ("flips", 3))]
    return [str(directions or "all"), str(count), str(len(outcomes)), *shown]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_scale.directions", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="a folder of photos for each class")
    parser.add_argument("--side", type=int, default=224, help="pixels to which photos are fitted")
    parser.add_argument("--sizes", type=int, nargs=5, default=[30, 8, 12, 25, 10], help=f"of {PARTS}, for each class")
    parser.add_argument("--controls", type=int, nargs=3, default=[3000, 4000, 4000], help="of each draw, drawn from "
                        f"{CONTROLS}: reference, calibration, control")  # fmt: skip
    parser.add_argument("--mistakes", type=int, default=1500, help=f"from which are drawn; they are of {MISTAKES}")
    parser.add_argument("--corrections", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--directions", type=int, nargs="+", default=[64, 128, 192, 256, 384, 0], help="0: all")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path("artifacts/large-scale"))
    chosen = parser.parse_args(arguments)
    classes, photos = split_photos(chosen.root, chosen.sizes)
    network, weights = published(classes, chosen.side)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    known = {
        name: features_of(network, photos[name], chosen.side, weights, chosen.cache / "features") for name in PARTS
    }
    controls = Controls(
        torch.cat([known[name] for name in CONTROLS]), torch.cat([photos[name].labels for name in CONTROLS])
    )
    pool = Photos(
        tuple(path for name in MISTAKES for path in photos[name].paths),
        torch.cat([photos[name].labels for name in MISTAKES]),
    )
    with torch.no_grad():
        said = network.classify(torch.cat([known[name] for name in MISTAKES])).argmax(1)
    wrong = (said != pool.labels).nonzero()[:, 0]
    wrong = wrong[torch.randperm(len(wrong), generator=torch.Generator().manual_seed(3))[: chosen.mistakes]]
    cases = cases_of(network, pool, wrong, chosen.side, chosen.cache / "all-views" / f"{weights[:12]}-{chosen.side}")
    rows = []
    for count in chosen.corrections:
        for directions in chosen.directions:
            outcomes = []
            for draw in range(chosen.draws):
                order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(100 + draw))[:count]
                drawn = [cases[place] for place in order.tolist()]
                outcomes.append(run(network, directions, drawn, controls.parts(chosen.controls, draw)))
            rows.append(cells(directions, count, outcomes))
            print(" ".join(rows[-1]), flush=True)
    print(f"\n{environment('cpu')} {len(cases)} mistakes of {len(pool.paths)} photos.\n\n{markdown(HEADINGS, rows)}")


if __name__ == "__main__":
    main()
