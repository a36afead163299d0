"""What Errata costs at a scale, computed from what was measured.

    python -m benchmarks.cost_model --gate SECONDS

`--gate`: processor seconds of the gate for each control image, measured by `benchmarks.gate_million`. Every constant
names where it was measured; what was not is said to be reckoned. Nothing here measures anything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.report import markdown

NIGHT = 6 * 3600.0  # seconds that a night may take


@dataclass(frozen=True)
class Constant:
    """A number, its unit, and where it comes from."""

    value: float
    unit: str
    source: str


FEATURES = {
    "CIFAR, ResNet-18 of width 16, 128 features": Constant(0.0008, "processor s an image", "night.md, 0.8 to 1.2 ms"),
    "photos, EfficientNet-Lite0, 1,280 features": Constant(0.0104, "processor s an image", "serving.md, batch 1"),
    "photos, ResNet-50, 2,048 features": Constant(0.0486, "processor s an image", "serving.md, batch 1"),
}
PIXELS = {
    "CIFAR, ResNet-18 of width 16, 128 features": 32 * 32 * 3,
    "photos, EfficientNet-Lite0, 1,280 features": 224 * 224 * 3,
    "photos, ResNet-50, 2,048 features": 224 * 224 * 3,
}
WIDTH = {name: int(name.rsplit(", ", 1)[1].split()[0].replace(",", "")) for name in FEATURES}
COLLECT = Constant(8.7 / 399, "processor s a report", "night.md: collect, 399 claims")
EDIT = Constant(44.7 / 397, "processor s a correction", "night.md: dvc repro, 397 corrections, fixed cost in it")
SLOT = Constant(4 * 1280 * 2, "bytes a correction", "reckoned: float32, 1,280 features and as many classes")
REQUESTS = Constant(6, "requests a report", "reckoned: 2 PUT to file it, 2 GET to read it, PUT and DELETE to settle it")
DIGEST = Constant(1.74e9, "bytes a processor s", "hashlib.sha256 of 64 MB, median of 9 in one process")
PASSES = 8  # over the pixels of the gate split: files four times, features' keys three times, the look's images once
GENERATED = 32 * 32 * 3  # bytes of an image of `benchmarks.gate_million`, which has 512 features


def length(seconds: float) -> str:
    """In the unit that suits."""
    for size, unit in ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s"


def room(count: float) -> str:
    """Bytes in the unit that suits."""
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,.0f} B"


def control_rows(gate: float) -> list[list[str]]:
    """Of so many control images: room, what the first night costs and what each later one, on one core; `gate` is
    processor seconds an image with features kept."""
    rows = []
    for name, cost in FEATURES.items():
        for count in (1e4, 1e6, 1e8, 1e9):
            seconds = (gate - PASSES * GENERATED / DIGEST.value) * WIDTH[name] / 512
            once, later = cost.value * count, (seconds + PASSES * PIXELS[name] / DIGEST.value) * count
            rows.append(
                [
                    name,
                    f"{count:,.0f}",
                    room(PIXELS[name] * count),
                    room(4 * WIDTH[name] * count),
                    length(once),
                    f"{max(1, once / NIGHT):,.0f}",
                    length(later),
                    f"{max(1, later / NIGHT):,.0f}",
                ]
            )
    return rows


def report_rows() -> list[list[str]]:
    """Of so many reports a night."""
    return [
        [
            f"{count:,.0f}",
            f"{REQUESTS.value * count:,.0f}",
            length(COLLECT.value * count),
            f"{max(1, COLLECT.value * count / NIGHT):,.0f}",
            f"{count / NIGHT:,.1f}",
        ]
        for count in (1e2, 1e4, 1e6, 1e7)
    ]


def page(gate: Constant) -> str:
    """The tables as Markdown."""
    known = [(f"features of a new image: {name}", each) for name, each in FEATURES.items()]
    known += [("the gate, features kept", gate), ("digests of pixels", DIGEST), ("intake", COLLECT)]
    known += [("edit and measure", EDIT), ("a release", SLOT), ("the store", REQUESTS)]
    constants = [[what, f"{each.value:.4g} {each.unit}", each.source] for what, each in known]
    work = ["first night, one core", "cores for 6 h", "each later night, one core", "cores for 6 h"]
    heads = ["network", "control images", "pixels", "features", *work]
    reports = [
        "reports a night",
        "requests to the store",
        "intake, one core",
        "cores for 6 h",
        "reports a second for 6 h",
    ]
    return f"""# What a scale costs, computed

`python -m benchmarks.cost_model --gate {gate.value}`. Each constant was measured on one thread of an AMD EPYC, no GPU,
beside other work, unless it is said to be reckoned; everything else is multiplication. Cores are as if work were
divided without loss.

{markdown(["what", "constant", "source"], constants)}

## Control images

{markdown(heads, control_rows(gate.value))}

Pixels and features are what lies on disk: uint8 pixels and float32 features. A later night goes {PASSES}
times over the pixels for their digests, which is most of it for photos, and once over the features of each model.

## Reports

{markdown(reports, report_rows())}
"""


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gate", type=float, required=True, help="processor seconds for each control image")
    chosen = parser.parse_args(arguments)
    sys.stdout.write(
        page(Constant(chosen.gate, "processor s an image", "gate-size.md: evaluate and judge, 512 features"))
    )


if __name__ == "__main__":
    main(sys.argv[1:])
