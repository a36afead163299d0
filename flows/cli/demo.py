"""A day with Errata, on the embedded data: what `make run` does. Every number it prints is measured as it runs.

The `traffic` split stands for the day's requests: the live ONNX file answers them in ONNX Runtime, and every image that
it really gets wrong is reported, as a person would.
"""

from __future__ import annotations

import numpy as np
from rich.console import Console

from data.images import encode_png
from data.releases.manifest import read_live, read_manifest, read_model
from data.reports import file_report
from data.splits import load_split
from data.storage.base import Storage
from editing.export import OnnxClassifier
from editing.metrics import predicted_classes
from flows.night.summary import NightSummary
from flows.releases.pointer import require_live
from flows.workspace import Workspace, open_store, open_workspace


def run_day(store: str | None, console: Console) -> NightSummary:
    """Train and release a root if there is none, report the day's mistakes, run the night, prove the result."""
    from flows.correct_model import correct_model
    from flows.train_model import train_model

    storage, workspace = open_store(store, create=True), open_workspace()
    if read_live(storage) is None:
        console.rule("1. A root model, trained and released")
        train_model(store)
    console.rule("2. The day's requests, answered by the live ONNX file")
    reported = report_mistakes(storage, workspace, console)
    console.rule("3. The night")
    summary = correct_model(store)
    if reported:
        console.rule("4. The proof: the shipped file, loaded afresh")
        prove(storage, workspace, reported, summary, console)
    return summary


def live_classifier(storage: Storage) -> tuple[int, OnnxClassifier]:
    """The live release's version and its ONNX file, checked against the manifest and loaded."""
    live, _ = require_live(storage)
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    return live.version, OnnxClassifier(read_model(storage, manifest))


def report_mistakes(storage: Storage, workspace: Workspace, console: Console) -> list[int]:
    """File a report for each traffic image that the live file gets wrong; returns which."""
    traffic = load_split(workspace.splits, "traffic")
    version, classifier = live_classifier(storage)
    predicted = predicted_classes(classifier.predict(traffic.images).logits)
    wrong = [int(index) for index in np.flatnonzero(predicted != traffic.labels)]
    for index in wrong:
        file_report(
            storage,
            encode_png(traffic.images[index]),
            traffic.classes[traffic.labels[index]],
            predicted=traffic.classes[predicted[index]],
            reporter="traffic",
            model_version=version,
        )
    console.print(f"version {version} got {len(wrong)} of {len(traffic.images)} wrong; as many reports were filed")
    return wrong


def prove(storage: Storage, workspace: Workspace, reported: list[int], summary: NightSummary, console: Console) -> None:
    """Show that what was reported now comes out right, but for what the night left out."""
    traffic = load_split(workspace.splits, "traffic")
    version, classifier = live_classifier(storage)
    predicted = predicted_classes(classifier.predict(traffic.images[reported]).logits)
    right = int((predicted == traffic.labels[reported]).sum())
    waiting = sum(len(each.reports) for each in summary.deferred)
    colour = "green" if right + waiting >= len(reported) else "red"
    console.print(f"[{colour}]version {version} gets {right} of the {len(reported)} reported images right[/]")
    if waiting:
        console.print(f"{waiting} were left out, for they did harm; they stay in the inbox and are tried again")
