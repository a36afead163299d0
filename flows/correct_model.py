"""The flow `correct-model`: reports in, corrected model out; and `dry-run`, which only says what that would come to.

Their steps are in flows/night/run.py and flows/night/dry_run.py.
"""

from __future__ import annotations

from prefect import flow
from prefect.logging import get_run_logger

from errata.data.telemetry import tracing
from errata.flows.gate.criterion import GateResult
from errata.flows.night.dry_run import DryRun
from errata.flows.night.dry_run import dry_run as look
from errata.flows.night.notices import begin_night, open_notices
from errata.flows.night.run import run_night
from errata.flows.night.state import open_night
from errata.flows.night.summary import NightSummary
from errata.flows.night.tracing import spanned
from errata.flows.prefect_runs.approval import NIGHT, approval_on_page
from errata.flows.prefect_runs.artifacts import publish, publish_dry_run, publish_question
from errata.flows.prefect_runs.log import speak_in_lines
from errata.flows.prefect_runs.parameters import By, Store, Workspace
from errata.flows.prefect_runs.run_names import name_by_outcome, name_run, run_name
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
    night = begin_night(store, workspace, by, get_run_logger().info)
    notices = open_notices(night)

    def asked(gate_result: GateResult) -> None:
        publish_question(gate_result)
        notices.asked(gate_result)

    ask_approval = approval_on_page(night.workspace.params.approval.minutes, night.log, asked=asked)
    with tracing("errata-night") as span, span(NIGHT, run=night.name, store=night.storage.url), warm_stages():
        summary = notices.around(lambda: run_night(night, spanned(run_as_task, span), ask_approval))
    publish(night, summary)
    name_by_outcome(summary)
    return summary


@flow(name="dry-run", flow_run_name=run_name)
def dry_run(store: Store = None, workspace: Workspace = None, by: By = "errata") -> DryRun:
    """Say what a night would correct, refuse and let wait now, and do nothing.

    Args:
        store: Where reports and releases lie: a folder, or s3://bucket/prefix. Left out: what ERRATA_STORE says on the
            worker, else the folder `store` in the workspace.
        workspace: The folder on the worker with dvc.yaml and params.yaml. Left out: what ERRATA_WORKSPACE says there,
            else the folder that it runs in.
        by: Who asked; nothing is written under this name.
    """
    speak_in_lines()
    found = look(open_night(store, workspace, by, get_run_logger().info))
    publish_dry_run(found)
    name_run(f"dry run: {len(found.corrections)} new corrections", {"dry-run"})
    return found
