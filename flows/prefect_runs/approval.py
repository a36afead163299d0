"""Inconclusive: a person may decide, where a Prefect server is there to ask on. No answer means no."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput, keyset_from_paused_state
from prefect.settings import PREFECT_API_URL

from errata.editing.errors import NightError
from errata.flows.gate.criterion import GateResult
from errata.flows.gate.tables import in_the_way
from errata.flows.night.state import AskApproval
from errata.flows.workspace import Log

NIGHT = "correct-model"
_NIGHTS = FlowFilter(name=FlowFilterName(any_=[NIGHT]))
_PAUSED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))


class Approval(RunInput):
    """The form on the run's page."""

    release: bool = False
    who: str = ""
    why: str = ""


def server_of_its_own() -> str | None:
    """The URL of a Prefect server that people look at, if the settings name one."""
    url: str | None = PREFECT_API_URL.value()
    return url


def approval_on_page(
    minutes: float,
    log: Log,
    server: Callable[[], str | None] = server_of_its_own,
    pause: Callable[..., Approval] = pause_flow_run,
    asked: Callable[[GateResult], None] = lambda _gate_result: None,
) -> AskApproval:
    """A question to whoever watches the run, open for `minutes` (0: never asked); answers who said yes, or nothing.

    Without a server of its own (a run by hand starts one that nobody sees) nobody could answer, so nobody is asked.
    `pause` is Prefect's way to wait for a form; `asked` hears of each question.
    """

    def ask_approval(gate_result: GateResult) -> str:
        if not minutes or not server():
            return ""
        why = in_the_way(gate_result)
        log(f"inconclusive: {why}. Release it all the same? The run waits {minutes:g} minutes")
        asked(gate_result)
        form = Approval.with_initial_data(description=f"Inconclusive: {why}. No answer means no.")
        try:
            answer = pause(wait_for_input=form, timeout=max(1, round(minutes * 60)))
        except FlowPauseTimeout:
            log("nobody answered: not released")
            return ""
        who = (answer.who or "somebody who gave no name") + (f" ({answer.why})" if answer.why else "")
        if not answer.release:
            log(f"{who} says no: not released")
        return who if answer.release else ""

    return ask_approval


@dataclass(frozen=True)
class WaitingRun:
    """A night's run that waits for a person: its name on Prefect's pages, and what it asks."""

    id: UUID
    name: str
    question: str


def waiting_runs() -> list[WaitingRun]:
    """The nights that wait for a person on the Prefect server of the settings, the one that began first before others.

    Raises NightError if no server is set or it does not answer.
    """
    with _client() as client:
        found = client.read_flow_runs(flow_filter=_NIGHTS, flow_run_filter=_PAUSED)
        found.sort(key=lambda run: (run.start_time is None, run.start_time))
        return [WaitingRun(run.id, run.name, _question(client, run)) for run in found]


def answer_run(wanted: str | None, *, release: bool, who: str, why: str = "") -> WaitingRun:
    """Answer the one night that waits, or the one whose name or id begins with `wanted`; what the form would say.

    Raises NightError if none waits, several do, or it has stopped waiting meanwhile.
    """
    waiting = waiting_runs()
    runs = [run for run in waiting if not wanted or run.name.startswith(wanted) or str(run.id).startswith(wanted)]
    if len(runs) != 1:
        names = ", ".join(f"'{run.name}'" for run in waiting)
        which = f"{len(runs)} begin with {wanted!r}" if wanted else "say which"
        raise NightError(f"{which}; for a person wait {names}" if waiting else "no night waits for a person")
    (run,) = runs
    with _client() as client:
        answer = client.resume_flow_run(run.id, run_input={"release": release, "who": who, "why": why})
    if answer.status != SetStateStatus.ACCEPT:
        raise NightError(f"run {run.name} does not wait any more; its page says what came of it")
    return run


def _question(client: SyncPrefectClient, run: FlowRun) -> str:
    """What the form says above its fields; "" if the run has gone on meanwhile."""
    if run.state is None or not run.state.is_paused():
        return ""
    with suppress(ObjectNotFound, HTTPError):
        return str(json.loads(client.read_flow_run_input(run.id, keyset_from_paused_state(run.state)["description"])))
    return ""


@contextmanager
def _client() -> Iterator[SyncPrefectClient]:
    """Prefect's client, on a server that people look at."""
    if not server_of_its_own():
        raise NightError("no Prefect server is set: PREFECT_API_URL=http://127.0.0.1:4200/api is that of `make serve`")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except HTTPError as fault:
        raise NightError(f"Prefect's server at {server_of_its_own()} does not answer ({fault})") from fault
