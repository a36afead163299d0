"""A day with Errata, on the embedded data: what `make run` does. Every number it prints is measured as it runs.

The `traffic` split stands for the day's requests: the live ONNX file answers them in ONNX Runtime, and every image that
it really gets wrong is reported, as a person would. Some requests come from one bad camera. Of those a part, drawn
without looking at what was predicted, is labelled by a person: it shows what mending such images does to others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console

from errata.data.datasets import LabelledImages
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.kind_inputs import label_image
from errata.data.releases.manifest import read_live, read_manifest, read_model
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.editing.export import OnnxClassifier
from errata.editing.metrics import predicted_classes
from errata.flows.cli.camera import through_bad_camera
from errata.flows.night.summary import NightSummary
from errata.flows.releases.pointer import require_live
from errata.flows.workspace import Workspace, open_store, open_workspace

PLAIN, REPORTED = (
    0.35,
    0.35,
)  # shares of the day's requests: from good cameras, and from the bad one; the rest is labelled


@dataclass(frozen=True)
class Day:
    """The day's requests, whose mistakes are reported; others of the bad camera, labelled, and some that nobody saw."""

    requests: LabelledImages
    labelled: LabelledImages
    unseen: LabelledImages


def make_day(workspace: Workspace) -> Day:
    """The traffic split as the day, and the test split as the bad camera would have seen it."""
    traffic = load_split(workspace.splits, "traffic")
    first, second = int(PLAIN * len(traffic)), int((PLAIN + REPORTED) * len(traffic))
    images = traffic.images.copy()
    images[first:] = through_bad_camera(images[first:])
    test = load_split(workspace.splits, "test")
    return Day(
        requests=replace(traffic, images=images[:second], labels=traffic.labels[:second]),
        labelled=replace(traffic, images=images[second:], labels=traffic.labels[second:]),
        unseen=replace(test, images=through_bad_camera(test.images)),
    )


def run_day(store: str | None, console: Console) -> NightSummary:
    """Train and release a root if there is none, report the day's mistakes, run the night, prove the result."""
    from errata.flows.correct_model import correct_model
    from errata.flows.train_model import train_model

    storage, workspace = open_store(store, create=True), open_workspace()
    if read_live(storage) is None:
        console.rule("1. A root model, trained and released")
        train_model(store)
    console.rule("2. The day's requests, answered by the live ONNX file")
    day = make_day(workspace)
    reported = report_mistakes(storage, day.requests, console)
    label_sample(storage, day.labelled, console)
    before = error(live_classifier(storage)[1], day.unseen)
    console.rule("3. The night")
    summary = correct_model(store)
    if reported:
        console.rule("4. The proof: the shipped file, loaded afresh")
        prove(storage, day, reported, summary, console)
        after = error(live_classifier(storage)[1], day.unseen)
        console.print(
            f"other images of the bad camera, none of them reported: {before:.1%} wrong before, {after:.1%} after "
            f"(n = {len(day.unseen)})"
        )
    return summary


def live_classifier(storage: Storage) -> tuple[int, OnnxClassifier]:
    """The live release's version and its ONNX file, checked against the manifest and loaded."""
    live, _ = require_live(storage)
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    return live.version, OnnxClassifier(read_model(storage, manifest))


def error(classifier: OnnxClassifier, split: LabelledImages) -> float:
    """The share of images that a file gets wrong."""
    return float((predicted_classes(classifier.predict(split.images).logits) != split.labels).mean())


def report_mistakes(storage: Storage, requests: LabelledImages, console: Console) -> list[int]:
    """File a report for each image that the live file gets wrong; returns which."""
    version, classifier = live_classifier(storage)
    predicted = predicted_classes(classifier.predict(requests.images).logits)
    wrong = [int(index) for index in np.flatnonzero(predicted != requests.labels)]
    for index in wrong:
        file_report(
            storage,
            encode_png(requests.images[index]),
            requests.classes[requests.labels[index]],
            predicted=requests.classes[predicted[index]],
            reporter="traffic",
            model_version=version,
        )
    console.print(f"version {version} got {len(wrong)} of {len(requests)} wrong; as many reports were filed")
    return wrong


def label_sample(storage: Storage, sample: LabelledImages, console: Console) -> None:
    """Label images of the bad camera, whatever was predicted."""
    for image, label in zip(sample.images, sample.labels, strict=True):
        label_image(storage, pixel_digest(image), image, sample.classes[label], "a person")
    console.print(f"{len(sample)} other requests of one bad camera were labelled, right and wrong ones alike")


def prove(storage: Storage, day: Day, reported: list[int], summary: NightSummary, console: Console) -> None:
    """Show that what was reported now comes out right, but for what the night left out, and what became of all else."""
    version, classifier = live_classifier(storage)
    predicted = predicted_classes(classifier.predict(day.requests.images).logits)
    right = predicted == day.requests.labels
    mended = int(right[reported].sum())
    waiting = sum(len(each.reports) for each in summary.deferred)
    colour = "green" if mended + waiting >= len(reported) else "red"
    console.print(f"[{colour}]version {version} gets {mended} of the {len(reported)} reported images right[/]")
    if waiting:
        console.print(f"{waiting} were left out, for they did harm; they stay in the inbox and are tried again")
    broken = len(right) - len(reported) - int(np.delete(right, reported).sum())
    console.print(
        f"of the day's {len(right) - len(reported)} other requests, which it got right, {broken} are wrong now"
    )
