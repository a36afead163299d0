"""The flow `train-model`: a new root, trained and released, with an empty ledger."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from data.manifest import read_live
from flows import night, settings
from flows.artifacts import publish
from flows.correct_model import as_task
from flows.forms import By, Store, Workspace
from flows.ledger import Ledger, write_ledger
from flows.night import Night, Step
from flows.readable import make_readable
from flows.summary import NightSummary


def lay_out_root(night_: Night, version: int) -> Ledger:
    """An empty ledger: no correction shapes a root release."""
    ledger = Ledger(version)
    write_ledger(night_.workspace.ledger, ledger, {})
    return ledger


def run(night_: Night, as_step: Step = lambda _name, step: step) -> NightSummary:
    """Train a root and release it."""
    found = read_live(night_.storage)
    ledger = as_step("lay out", lay_out_root)(night_, found[0].newest + 1 if found else 1)
    as_step("train, export, evaluate", night.reproduce)(night_)
    judgement = as_step("gate", night.judge)(night_)
    if judgement.verdict == "pass":
        as_step("release", night.release)(night_, found, why="a new root")
    return night.summarise(night_, ledger, night.Batch(), judgement)


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
