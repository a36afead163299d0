"""The flow `train-model`: a new root, trained on the train split and the corrections in force, and released.

The old ledger is the new root's regression test: a correction that the root learned leaves the ledger, the others stay
in it, and every one of them must come out right in the file that ships.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from prefect import flow
from prefect.logging import get_run_logger

from data.manifest import Live, read_file, read_live
from editing.classifier import OnnxClassifier
from editing.errors import AlreadyStored, NightError
from editing.metrics import predicted_classes
from editing.onnx_file import METADATA_PREFIX
from flows import night, settings
from flows.artifacts import publish
from flows.correct_model import as_task
from flows.forms import By, Store, Workspace
from flows.gate import Criterion, Judgement
from flows.ledger import Ledger
from flows.lessons import NONE, lay_out_corrections, lessons_of
from flows.night import Night, Step
from flows.readable import make_readable
from flows.release import verified
from flows.retraction import decisions
from flows.summary import NightSummary


@dataclass(frozen=True)
class Carried:
    """What the old root leaves to the new one: the ledger in force, and all that a root was ever taught."""

    ledger: Ledger
    lessons: Ledger


def carry(night_: Night, found: tuple[Live, str] | None) -> Carried:
    """The corrections in force, which the new root shall learn; raises Damaged if the live release does not verify."""
    if found is None:
        return Carried(Ledger(1), NONE)
    manifest = verified(night_.storage, found[0].version, found[0].manifest_sha256)
    ledger = Ledger.from_jsonl(read_file(night_.storage, manifest, "ledger.jsonl").decode())
    retracted = {claim for claim, each in decisions(night_.storage).items() if each.action == "retracted"}

    def kept(ledger: Ledger, version: int) -> Ledger:
        out = [each.id for each in ledger.corrections if each.claim in retracted]
        return ledger.without(version, out)

    carried = kept(ledger, found[0].newest + 1)
    return Carried(carried, kept(lessons_of(night_.storage, manifest), 0).grown(0, carried.corrections))


def lay_out(night_: Night, version: int, carried: Carried, ledger: Ledger) -> Ledger:
    """What the stages read: lessons for training, and the corrections that stay in force."""
    lay_out_corrections(night_.storage, night_.workspace.lessons, carried.lessons)
    ledger = replace(ledger, version=version)
    lay_out_corrections(night_.storage, night_.workspace.ledger, ledger)
    return ledger


def train(night_: Night) -> None:
    """The root alone."""
    night_.workspace.dvc("repro", "train", log=night_.log)


def unlearned(night_: Night, carried: Carried) -> Ledger:
    """The corrections that the new root gets wrong all the same: they stay in the ledger."""
    right = brought_right(night_, carried.ledger, night_.workspace.root / "root.onnx")
    night_.log(f"the new root gets {len(right)} of {len(carried.ledger.corrections)} corrections right by itself")
    return carried.ledger.without(carried.ledger.version, right)


def brought_right(night_: Night, ledger: Ledger, file: Path) -> frozenset[str]:
    """The corrections of a ledger whose images an ONNX file predicts as expected."""
    if not ledger.corrections:
        return frozenset()
    classifier = OnnxClassifier(file)
    images = [night.correction_image(night_.storage, each.id, classifier.image_shape) for each in ledger.corrections]
    predicted = predicted_classes(classifier.predict(np.stack(images)).logits)
    classes = json.loads(classifier.metadata.get(f"{METADATA_PREFIX}classes", "null")) or root_classes(night_)
    return frozenset(
        each.id for each, now in zip(ledger.corrections, predicted, strict=True) if classes[now] == each.expected
    )


def root_classes(night_: Night) -> list[str]:
    """The names of the classes, from the root's specification."""
    classes: list[str] = night_.workspace.read_json(night_.workspace.root / "model.json")["classes"]
    return classes


def judge(night_: Night, carried: Carried) -> Judgement:
    """The gate's answer, and the old ledger as a regression test: what was promised holds, learned or edited."""
    judgement = night.judge(night_)
    count = len(carried.ledger.corrections)
    if not count:
        return judgement
    share = len(brought_right(night_, carried.ledger, night_.workspace.onnx / "model.onnx")) / count
    kept = Criterion("old_corrections", share, share, 1.0, "at least", count)
    return replace(judgement, criteria=(*judgement.criteria, kept))


def run(night_: Night, as_step: Callable[[str, Step], Step] = lambda _name, step: step) -> NightSummary:
    """Train a root on the train split and the corrections in force, and release it with those that it did not learn."""
    found = read_live(night_.storage)
    carried: Carried = as_step("carry", carry)(night_, found)
    first = found[0].newest + 1 if found else 1
    ledger = carried.ledger
    if ledger.corrections:
        as_step("lay out", lay_out)(night_, first, carried, ledger)
        as_step("train", train)(night_)
        ledger = as_step("old ledger", unlearned)(night_, carried)
    for version in range(first, first + night.VERSIONS):
        ledger = as_step("lay out", lay_out)(night_, version, carried, ledger)
        as_step("train, export, evaluate", night.reproduce)(night_)
        judgement = as_step("gate", judge)(night_, carried)
        if judgement.verdict == "pass":
            try:
                as_step("release", night.release)(night_, found, why="a new root")
            except AlreadyStored as fault:  # a run that died before its swap left other bytes under this version
                night_.log(f"{fault}; taking the next version")
                continue
        return night.summarise(night_, ledger, night.Batch(), judgement)
    raise NightError(f"versions {first} to {version} are taken by runs that died; look at releases/")


@flow(name="train-model")
def train_model(store: Store = None, workspace: Workspace = None, by: By = "errata") -> NightSummary:
    """Train a root model and release it.

    Args:
        store: Where reports and releases lie: a folder, or s3://bucket/prefix. Left out: what ERRATA_STORE says on the
            worker, else the folder `store` in the workspace.
        workspace: The folder on the worker with dvc.yaml and params.yaml. Left out: what ERRATA_WORKSPACE says there,
            else the folder that it runs in.
        by: Who asked, for the log of releases.
    """
    make_readable()
    tonight = settings.open_night(store, workspace, by, get_run_logger().info)
    summary = run(tonight, as_task)
    publish(tonight, summary, "root-")
    return summary
