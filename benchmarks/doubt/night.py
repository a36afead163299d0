"""A night of 400 claims of which 45% are wrong, three people an image, and a second network to hold them against.

    python -m benchmarks.doubt.night --data ROOT --human CIFAR-10_human.pt [--folder FOLDER]

Root, splits and limits of the gate are those of `python -m benchmarks.night cifar`, but here nobody is simply believed:
limits of doubt are those that docs/second-network.md names for such a network. The images are in no split, so neither
network has learned them. A claim is what the first person of CIFAR-10N says against the root's prediction; two more
people are asked about each such image, and all three report what they see. The night that is measured is the second on
its root: one with the last image's claims went before it. The second network is that of `python -m
benchmarks.doubt.second`. Prints what docs/results/doubt-ways.md says of the night.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from benchmarks.doubt.measures import interval
from benchmarks.doubt.people import Classes, human_labels
from benchmarks.night import (
    CIFAR,
    CLAIMS,
    HUMAN_LABELLED,
    WRONG,
    Clock,
    Place,
    make_place,
    processor_seconds,
    table,
    with_root,
)
from benchmarks.report import environment
from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.data.reports import file_report
from errata.data.splits import load_split, read_record
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.night.run import run_night
from errata.flows.stages.handover import warm_stages

TRUST = {
    "second_opinion": "benchmarks.doubt.second:logits",
    "doubt_one": 0.08, "doubt_two": 0.15, "doubt_three": 0.15,
}  # fmt: skip


def asked_about(place: Place, data: LabelledImages, human: Path) -> tuple[Classes, Classes, Classes]:
    """Rows of the images, what the root predicts for each, and what three people say `[n, 3]`."""
    held = {
        pixel_digest(image)
        for name in read_record(place.workspace.splits).splits
        for image in load_split(place.workspace.splits, name).images
    }
    rows = np.array([row for row in range(HUMAN_LABELLED) if pixel_digest(data.images[row]) not in held])
    predicted = OnnxClassifier(place.workspace.root / "root.onnx").predict(data.images[rows]).logits.argmax(1)
    true, said = human_labels(human, HUMAN_LABELLED)
    if (true != data.labels[:HUMAN_LABELLED]).any():
        raise SystemExit("the human labels are not of these images")
    first = said[rows, 0]
    rng, many = np.random.default_rng(0), round(CLAIMS * WRONG)
    wrong = rng.permutation(np.flatnonzero((first != predicted) & (first != true[rows])))[:many]
    right = rng.permutation(np.flatnonzero((first != predicted) & (first == true[rows])))[: CLAIMS - many]
    chosen = rng.permutation(np.concatenate([wrong, right]))
    return rows[chosen], predicted[chosen], said[rows[chosen]]


def main() -> None:
    """Run the night, and print what was released."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("artifacts/benchmarks/night"), help="keeps the root")
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10, as torchvision keeps it")
    parser.add_argument("--human", type=Path, required=True, help="CIFAR-10_human.pt of CIFAR-10N")
    arguments = parser.parse_args()
    root = arguments.data.resolve()
    params = with_root(CIFAR, root)
    place = make_place(arguments.folder.resolve() / "cifar", params)
    data = load_dataset("cifar10", root)
    rows, predicted, said = asked_about(place, data, arguments.human)
    truth, names = data.labels[rows], data.classes
    with TemporaryDirectory(prefix="errata-night-") as temporary:
        copy = place.copied_to(Path(temporary) / "place")
        (copy.workspace.folder / "params.yaml").write_text(yaml.safe_dump({**params, "trust": TRUST}, sort_keys=False))
        people = [
            (encode_png(data.images[row]), names[now], [names[each] for each in classes])
            for row, now, classes in zip(rows, predicted, said, strict=True)
        ]
        ask(copy, people, [len(rows) - 1])
        with warm_stages():
            run_night(copy.night())  # and so what control images look like is known
        rows, predicted, said, truth = rows[:-1], predicted[:-1], said[:-1], truth[:-1]
        ask(copy, people, range(len(rows)))
        clock, wall, processor = Clock(), time.perf_counter(), processor_seconds()
        with warm_stages():
            summary = run_night(copy.night(), clock)
        clock.seconds["the night"] = [1, time.perf_counter() - wall, processor_seconds() - processor]
        ledger = live_ledger(copy)
    index = {pixel_digest(data.images[row]): place for place, row in enumerate(rows)}
    released = {(index[each.id], names.index(each.expected)) for each in ledger.corrections if each.id in index}
    claims = {(image, int(each)) for image, now in enumerate(predicted) for each in said[image] if each != now}
    right = {(image, claimed) for image, claimed in claims if truth[image] == claimed}
    first = {(image, int(each)) for image, each in enumerate(said[:, 0])}
    print(f"\n{environment('cpu')}\n\n{summary.outcome}: {summary.sentence}")
    print(f"{len(rows)} first claims, {len(first - right)} wrong; {len(claims)} claims, {len(claims - right)} wrong")
    print(f"right first claims released: {interval(len(first & right & released), len(first & right))}")
    print(f"right claims released: {interval(len(right & released), len(right))}")
    print(f"wrong among released: {interval(len(released - right), len(released))}")
    print(f"{len(summary.deferred)} left out for harm\n\n{table([clock])}")


def ask(place: Place, people: list[tuple[bytes, str, list[str]]], which: Iterable[int]) -> None:
    """File what three people say of these images, each a picture, what the root predicts for it, and what they say."""
    for image in which:
        picture, now, classes = people[image]
        for number, each in enumerate(classes):
            against = now if each != now else None  # who agrees says so
            file_report(place.storage, picture, each, predicted=against, reporter=f"person {image} {number}")


def live_ledger(place: Place) -> Ledger:
    """The corrections of the live release."""
    found = read_live(place.storage)
    if found is None:
        raise SystemExit("nothing is live")
    manifest = read_manifest(place.storage, found[0].version, found[0].manifest_sha256)
    return Ledger.from_jsonl(read_file(place.storage, manifest, "ledger.jsonl").decode())


if __name__ == "__main__":
    main()
