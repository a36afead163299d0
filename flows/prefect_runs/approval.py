"""Inconclusive: a person may decide, where a Prefect server is there to ask on. No answer means no."""

from __future__ import annotations

from collections.abc import Callable

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL

from errata.flows.gate.criterion import GateResult
from errata.flows.night.state import AskApproval
from errata.flows.workspace import Log


class Approval(RunInput):
    """The form on the run's page."""

    release: bool = False
    who: str = ""


def server_of_its_own() -> str | None:
    """The URL of a Prefect server that people look at, if the settings name one."""
    url: str | None = PREFECT_API_URL.value()
    return url


def approval_on_page(
    minutes: float,
    log: Log,
    server: Callable[[], str | None] = server_of_its_own,
    pause: Callable[..., Approval] = pause_flow_run,
) -> AskApproval:
    """A question to whoever watches the run, open for `minutes` (0: never asked); answers who said yes, or nothing.

    Without a server of its own (a run by hand starts one that nobody sees) nobody could answer, so nobody is asked.
    `pause` is Prefect's way to wait for a form.
    """

    def ask_approval(gate_result: GateResult) -> str:
        if not minutes or not server():
            return ""
        log(f"inconclusive: {gate_result.sentence}. Release it all the same? The run waits {minutes:g} minutes")
        form = Approval.with_initial_data(description=f"Inconclusive: {gate_result.sentence}. No answer means no.")
        try:
            answer = pause(wait_for_input=form, timeout=max(1, round(minutes * 60)))
        except FlowPauseTimeout:
            log("nobody answered: not released")
            return ""
        return (answer.who or "somebody who gave no name") if answer.release else ""

    return ask_approval
