"""A day with Errata, on the embedded data: what `make run` does. Every number it prints is measured as it runs.

The `traffic` split stands for the day's requests: the live ONNX file answers them in ONNX Runtime, and every image that
it really gets wrong is reported, as a person would. Some requests come from one bad camera. Of those a part, drawn
without looking at what was predicted, is labelled by a person: it shows what mending such images does to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console

from errata.data.datasets import LabelledImages
from errata.data.images import encode_png, pixel_digest
from errata.data.releases.evaluation import FlippedImage, Flips
from errata.data.releases.kind_inputs import label_image
from errata.data.releases.manifest import read_live, read_manifest, read_model
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.editing.metrics import predicted_classes
from errata.editing.onnx.export import OnnxClassifier, Predictions
from errata.flows.cli.camera import through_bad_camera
from errata.flows.cli.night_tables import print_summary
from errata.flows.night.summary import NightSummary
from errata.flows.releases.contents.cards import Beside
from errata.flows.releases.contents.pictures import share, thumbnail
from errata.flows.releases.kinds import live_kinds
from errata.flows.releases.page import release_page
from errata.flows.releases.pointer import require_live
from errata.flows.stages.outcomes import flips
from errata.flows.workspace import Workspace, open_store, open_workspace

PAGE = "errata.html"
TOLD = 10  # groups of requests that broke
PLAIN, REPORTED = (
    0.35,
    0.35,
)  # shares of the day's requests: from good cameras, and from the bad one; the rest is labelled


@dataclass(frozen=True)
class Day:
    """The day's requests, whose mistakes are reported; others of the bad camera, labelled, and some that nobody saw.

    The first `good` requests come from good cameras, the others from the bad one.
    """

    requests: LabelledImages
    labelled: LabelledImages
    unseen: LabelledImages
    good: int


@dataclass(frozen=True)
class Answered:
    """What the live file said of the day's requests, and of which (by number) it was wrong."""

    predictions: Predictions
    wrong: list[int]


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
        good=first,
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
    answered = report_mistakes(storage, day, console)
    label_sample(storage, day.labelled, console)
    before = error(live_classifier(storage)[1], day.unseen)
    console.rule("3. The night")
    summary = correct_model(store)
    print_summary(summary, "The night")
    if answered.wrong:
        console.rule("4. The proof: the shipped file, loaded afresh")
        others = prove(storage, day, answered, summary, console)
        after = error(live_classifier(storage)[1], day.unseen)
        console.print(
            f"of {len(day.unseen)} other images of the bad camera, none of them reported, "
            f"{before:.1%} were wrong before and {after:.1%} are now"
        )
        show(storage, workspace, day, others, console)
    return summary


def live_classifier(storage: Storage) -> tuple[int, OnnxClassifier]:
    """The live release's version and its ONNX file, checked against the manifest and loaded."""
    live, _ = require_live(storage)
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    return live.version, OnnxClassifier(read_model(storage, manifest))


def error(classifier: OnnxClassifier, split: LabelledImages) -> float:
    """The share of images that a file gets wrong."""
    return float((predicted_classes(classifier.predict(split.images).logits) != split.labels).mean())


def report_mistakes(storage: Storage, day: Day, console: Console) -> Answered:
    """Answer all requests by the live file, and file a report for each that it gets wrong."""
    requests = day.requests
    version, classifier = live_classifier(storage)
    predictions = classifier.predict(requests.images)
    predicted = predicted_classes(predictions.logits)
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
    bad = len(requests) - day.good
    console.print(
        f"version {version} got {len(wrong)} of {len(requests)} wrong, and each was reported: "
        f"{sum(index < day.good for index in wrong)} of {day.good} from good cameras, "
        f"{sum(index >= day.good for index in wrong)} of {bad} from one bad camera (blurred, pale)"
    )
    return Answered(predictions, wrong)


def label_sample(storage: Storage, sample: LabelledImages, console: Console) -> None:
    """Label images of the bad camera, whatever was predicted."""
    for image, label in zip(sample.images, sample.labels, strict=True):
        label_image(storage, pixel_digest(image), image, sample.classes[label], "a person")
    console.print(f"{len(sample)} other requests of one bad camera were labelled, right and wrong ones alike")


def prove(storage: Storage, day: Day, answered: Answered, summary: NightSummary, console: Console) -> Flips:
    """Show that what was reported now comes out right, but for what the night left out, and what became of all else.

    The flips among the requests that nobody reported.
    """
    version, classifier = live_classifier(storage)
    predictions = classifier.predict(day.requests.images)
    right = predicted_classes(predictions.logits) == day.requests.labels
    reported, mended = answered.wrong, int(right[answered.wrong].sum())
    waiting = sum(len(each.reports) for each in summary.deferred)
    colour = "green" if mended + waiting >= len(reported) else "red"
    console.print(f"version {version} gets {mended} of the {len(reported)} reported images right", style=colour)
    if waiting:
        console.print(f"{waiting} were left out, for they did harm; they stay in the inbox and are tried again")
    was, now = (predicted_classes(each.logits) for each in (answered.predictions, predictions))
    found = flips(day.requests.labels, was, now, predictions, day.requests.classes)
    others = Flips(found.images - len(reported), tuple(each for each in found.flipped if each.index not in reported))
    broken = [each for each in others.flipped if each.broken]
    colour = "red" if broken else "green"
    console.print(
        f"of the day's {others.images} other requests, which it got right, {len(broken)} are wrong now", style=colour
    )
    if broken:
        console.print(f"{sum(each.index >= day.good for each in broken)} of these {len(broken)} are of the bad camera:")
        tell_broken(storage, broken, console)
    return others


def tell_broken(storage: Storage, broken: Sequence[FlippedImage], console: Console) -> None:
    """What did it, and which requests each turned: what turned most first."""
    record = live_kinds(storage)
    kinds = {each.kind: each.name for each in record.used_kinds}
    groups: dict[tuple[str, str, str], list[int]] = {}
    for each in broken:
        slot = f"slot {each.slot}, of correction {record.by_slot.get(each.slot, '')[:12]}"
        by = slot if each.slot in record.by_slot else kinds.get(each.kind, "the weights themselves")
        groups.setdefault((by, each.label, each.after), []).append(each.index)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    for (by, label, after), indices in ordered[:TOLD]:
        console.print(f"  {len(indices)} by {by}: {label} is taken for {after} now", soft_wrap=True, markup=False)
    if len(ordered) > TOLD:
        console.print(f"  and {sum(len(indices) for _, indices in ordered[TOLD:])} by others")


def show(storage: Storage, workspace: Workspace, day: Day, others: Flips, console: Console) -> None:
    """Write the live release's report, with what became of the day's other requests, and say where it is."""
    broken = [each.index for each in others.flipped]
    pictures = {index: thumbnail(encode_png(day.requests.images[index]), share(len(broken))) for index in broken}
    requests = Beside("other requests of the day", others, pictures)
    path = workspace.folder / PAGE
    path.write_bytes(release_page(storage, workspace=workspace, requests=requests))
    console.print(f"what was corrected and what broke, in pictures: {path}", soft_wrap=True, markup=False)
