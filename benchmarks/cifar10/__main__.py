"""`python -m benchmarks.cifar10`: trains what is missing and writes the paper's tables and ours to docs/results/.

Checkpoints, tuned rules and every finished edit are kept in the cache folder: stop it at any time and start it again.
On 2 CPU cores give `--width 16`; on a GPU `--device cuda --edits 1000`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.cifar10 import joint, models, paper
from benchmarks.cifar10.data import load_cifar10
from benchmarks.cifar10.tables import Bench
from errata.editing.model import EditableModel


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cifar10", description=__doc__)
    parser.add_argument("--width", type=int, default=64, help="of the ResNet-18; 64 is the paper's")
    parser.add_argument("--edits", type=int, default=0, help="how many a row; default 1000 on a GPU, else 100")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--data-root", type=Path, default=Path(os.environ.get("ERRATA_DATA", "artifacts/data")))
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--note", default="", help="a sentence for the tables, about the machine's other load, say")
    parser.add_argument("--parts", nargs="+", default=[*PARTS, JOINT], choices=[*PARTS, JOINT], help="which tables")
    chosen = parser.parse_args()
    edits = chosen.edits or (1000 if chosen.device.startswith("cuda") else 100)
    data = load_cifar10(chosen.data_root)
    bench = Bench(chosen.cache, chosen.out, data, chosen.width, edits, chosen.device, chosen.note)
    folder = chosen.cache / f"plain-{chosen.width}"
    plain = models.plain_model(folder, chosen.width, bench.data, chosen.device)
    for part in chosen.parts:
        if part == JOINT:
            paths = ["--data-root", str(chosen.data_root), "--cache", str(chosen.cache), "--out", str(chosen.out)]
            joint.main(["--width", str(chosen.width), "--device", chosen.device, *paths])
        else:
            PARTS[part](bench, plain.to(chosen.device))


JOINT = "joint"  # many corrections at once: a benchmark of its own
PARTS: dict[str, Callable[[Bench, EditableModel], None]] = {
    "table1": paper.table1,
    "table3": paper.table3,
    "table2": paper.table2,
    "analysis": paper.analysis,
    "frontier": paper.frontier,
}

if __name__ == "__main__":
    main()
