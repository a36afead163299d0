"""A step of the night as a Prefect task, tried again only for what waiting can mend: a store that did not answer."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from errata.editing.errors import StoreUnusable
from errata.flows.night.step import Arguments, Result, Step


async def store_was_away(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Whether the attempt that just failed found no store. Prefect asks before each retry."""
    try:
        await state.aresult(raise_on_failure=True)
    except StoreUnusable:
        return True
    except Exception:  # any other failure is final, whatever it is
        return False
    return False


def run_as_task(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Run a step as a task with the step's own retries; live objects are neither cached nor persisted."""
    as_task = task(
        name=step.name,
        retries=len(step.waits),
        retry_delay_seconds=list(step.waits) or None,
        retry_condition_fn=store_was_away if step.waits else None,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(step.function)
    return as_task(*args, **kwargs)
