"""The flow `correct-model`: reports in, corrected model out. Prefect owns when; the steps are in flows/night.py.

Storage steps are retried while the store is away; the gate never is.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger

from editing.errors import StoreUnusable
from flows import night, settings
from flows.approval import asking
from flows.artifacts import publish
from flows.forms import By, Store, Workspace
from flows.night import Step
from flows.readable import make_readable
from flows.summary import NightSummary

ON_STORAGE = {"sync", "carry", "collect", "quarantine", "lay out", "release", "settle", "defer"}


async def store_was_away(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what waiting can mend: a store that did not answer. Prefect asks before each retry."""
    try:
        await state.aresult(raise_on_failure=True)
    except StoreUnusable:
        return True
    except Exception:  # any other failure is final, whatever it is
        return False
    return False


def as_task(name: str, step: Step) -> Step:
    """A step as a Prefect task; live objects are neither cached nor persisted."""
    waits: list[float] = [1, 5, 20, 40] if name in ON_STORAGE else []
    return task(
        name=name,
        retries=len(waits),
        retry_delay_seconds=waits or None,
        retry_condition_fn=store_was_away if waits else None,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(step)


@flow(name="correct-model")
def correct_model(store: Store = None, workspace: Workspace = None, by: By = "errata") -> NightSummary:
    """Turn the day's reports into a corrected model, if the gate lets it pass.

    Args:
        store: Where reports and releases lie: a folder, or s3://bucket/prefix. Left out: what ERRATA_STORE says on the
            worker, else the folder `store` in the workspace.
        workspace: The folder on the worker with dvc.yaml and params.yaml. Left out: what ERRATA_WORKSPACE says there,
            else the folder that it runs in.
        by: Who asked, for the log of releases.
    """
    make_readable()
    tonight = settings.open_night(store, workspace, by, get_run_logger().info)
    summary = night.run(tonight, as_task, asking(tonight.workspace.params.approval.minutes, tonight.log))
    publish(tonight, summary)
    return summary
