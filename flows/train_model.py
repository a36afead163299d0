"""The flow `train-model`: a new root, released if the gate lets it pass. Its steps are in flows/night/new_root.py."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from errata.data.telemetry import tracing
from errata.flows.night.new_root import train_new_root
from errata.flows.night.notices import begin_night, open_notices
from errata.flows.night.summary import NightSummary
from errata.flows.night.tracing import spanned
from errata.flows.prefect_runs.artifacts import publish
from errata.flows.prefect_runs.log import speak_in_lines
from errata.flows.prefect_runs.parameters import By, Store, Workspace
from errata.flows.prefect_runs.run_names import name_by_outcome, run_name
from errata.flows.prefect_runs.tasks import run_as_task
from errata.flows.stages.handover import warm_stages

ROOT = "train-model"


@flow(name=ROOT, flow_run_name=run_name)
def train_model(
    store: Store = None, workspace: Workspace = None, by: By = "errata", replace_live: str = ""
) -> NightSummary:
    """Train a root model and release it, if it is no worse than what is live.

    Args:
        store: Where reports and releases lie: a folder, or s3://bucket/prefix. Left out: what ERRATA_STORE says on the
            worker, else the folder `store` in the workspace.
        workspace: The folder on the worker with dvc.yaml and params.yaml. Left out: what ERRATA_WORKSPACE says there,
            else the folder that it runs in.
        by: Who asked, for the log of releases.
        replace_live: Why it shall be released also if it is worse than what is live. Left out: it is not.
    """
    speak_in_lines()
    night = begin_night(store, workspace, by, get_run_logger().info, create=True)
    notices = open_notices(night)
    with tracing("errata-night") as span, span(ROOT, run=night.name, store=night.storage.url), warm_stages():
        run_step = spanned(run_as_task, span)
        summary = notices.around(lambda: train_new_root(night, run_step, replace_live=replace_live))
    publish(night, summary, "root-")
    name_by_outcome(summary)
    return summary
