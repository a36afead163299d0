"""Inconclusive: a person may decide, where a Prefect server is there to ask on. No answer means no."""

from __future__ import annotations

from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL

from flows.gate import Judgement
from flows.night import Ask
from flows.workspace import Log


class Approval(RunInput):
    """The form on the run's page."""

    release: bool = False
    who: str = ""


def asking(minutes: float, log: Log) -> Ask:
    """A question to whoever watches the run, open for `minutes` (0: never asked); answers who said yes, or nothing.

    Without a server of its own (a run by hand starts one that nobody sees) nobody could answer, so nobody is asked.
    """

    def ask(judgement: Judgement) -> str:
        if not minutes or not PREFECT_API_URL.value():
            return ""
        log(f"inconclusive: {judgement.sentence}. Release it all the same? The run waits {minutes:g} minutes for a yes")
        form = Approval.with_initial_data(description=f"Inconclusive: {judgement.sentence}. No answer means no.")
        try:
            answer = pause_flow_run(wait_for_input=form, timeout=max(1, round(minutes * 60)))
        except FlowPauseTimeout:
            log("nobody answered: not released")
            return ""
        return (answer.who or "somebody who gave no name") if answer.release else ""

    return ask
