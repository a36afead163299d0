"""The flow `correct-model`: reports in, corrected model out. Its steps are in flows/night/run.py."""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from errata.flows.night.run import run_night
from errata.flows.night.state import open_night
from errata.flows.night.summary import NightSummary
from errata.flows.prefect_runs.approval import NIGHT, approval_on_page
from errata.flows.prefect_runs.artifacts import publish
from errata.flows.prefect_runs.log import speak_in_lines
from errata.flows.prefect_runs.parameters import By, Store, Workspace
from errata.flows.prefect_runs.run_names import name_by_outcome, run_name
from errata.flows.prefect_runs.tasks import run_as_task
from errata.flows.stages.handover import warm_stages


@flow(name=NIGHT, flow_run_name=run_name)
def correct_model(store: Store = None, workspace: Workspace = None, by: By = "errata") -> NightSummary:
    """Turn the day's reports into a corrected model, if the gate lets it pass.

    Args:
        store: Where reports and releases lie: a folder, or s3://bucket/prefix. Left out: what ERRATA_STORE says on the
            worker, else the folder `store` in the workspace.
        workspace: The folder on the worker with dvc.yaml and params.yaml. Left out: what ERRATA_WORKSPACE says there,
            else the folder that it runs in.
        by: Who asked, for the log of releases.
    """
    speak_in_lines()
    night = open_night(store, workspace, by, get_run_logger().info)
    ask_approval = approval_on_page(night.workspace.params.approval.minutes, night.log)
    with warm_stages():
        summary = run_night(night, run_as_task, ask_approval)
    publish(night, summary)
    name_by_outcome(summary)
    return summary
