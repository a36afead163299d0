"""A night's spans: one for the run, one for each step in it (`data.telemetry`)."""

from __future__ import annotations

from errata.data.telemetry import Span
from errata.flows.night.step import Arguments, Result, RunStep, Step


def spanned(run_step: RunStep, span: Span) -> RunStep:
    """The same runner, which opens a span for each step, with whatever the runner adds (retries, say) inside it."""

    def run(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with span(step.name):
            return run_step(step, *args, **kwargs)

    return run
