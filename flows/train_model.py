"""The flow `train-model`: a new root, trained and released, with an empty ledger."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from data.manifest import read_live
from flows import night, settings
from flows.artifacts import publish_gate, publish_night
from flows.correct_model import as_task
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
def train_model(store: str | None = None, workspace: str | None = None, by: str = "errata") -> NightSummary:
    """Train a root model and release it.

    Args:
        store: Where releases lie: a folder or s3://bucket/prefix. Default: ERRATA_STORE, else `store` in the workspace.
        workspace: The folder with dvc.yaml and params.yaml. Default: ERRATA_WORKSPACE, else the current folder.
        by: Who asked, for the log.
    """
    make_readable()
    summary = run(settings.open_night(store, workspace, by, get_run_logger().info), as_task)
    if summary.judgement:
        publish_gate(summary.judgement, "root-gate")
    publish_night(summary, "root")
    return summary
