"""Commands that do the work: train, correct, a demonstration day, and Prefect's services."""

from __future__ import annotations

from typing import Annotated

import typer

from errata.flows.cli.base import GATE_SAID_NO, AsJson, Store, app, out, say_json, tell


@app.command(rich_help_panel="Work")
def train(
    replace_live: Annotated[
        str,
        typer.Option(metavar="WHY", help="Release it even if it is worse than what is live, and why"),
    ] = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Train a root model and release it, if it is no worse than what is live."""
    from errata.flows.night.notices import begin_night, open_notices

    night = begin_night(
        store, None, None, tell, create=True
    )  # tells what is wrong with params.yaml before the slow imports
    from errata.data.telemetry import tracing
    from errata.flows.stages.handover import warm_stages

    with tracing("errata-night") as span, span("train-model", run=night.name, store=night.storage.url), warm_stages():
        from errata.flows.cli.night_tables import finish
        from errata.flows.night.new_root import train_new_root
        from errata.flows.night.step import run_here
        from errata.flows.night.tracing import spanned

        run_step = spanned(run_here, span)
        summary = open_notices(night).around(lambda: train_new_root(night, run_step, replace_live=replace_live))
    finish(summary, as_json, "A new root")


@app.command(rich_help_panel="Work")
def correct(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be corrected, refused, wait; do nothing")
    ] = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """A night, now, without Prefect: collect, validate, edit, judge, release."""
    if dry_run:
        from errata.flows.cli.night_tables import print_dry_run
        from errata.flows.night.dry_run import dry_run as look
        from errata.flows.night.state import open_night

        print_dry_run(look(open_night(store, None, None, tell)), as_json)
        return
    from errata.flows.night.notices import begin_night, open_notices

    night = begin_night(store, None, None, tell)
    from errata.data.telemetry import tracing
    from errata.flows.stages.handover import warm_stages

    with tracing("errata-night") as span, span("correct-model", run=night.name, store=night.storage.url), warm_stages():
        from errata.flows.cli.night_tables import finish
        from errata.flows.night.run import run_night
        from errata.flows.night.step import run_here
        from errata.flows.night.tracing import spanned

        summary = open_notices(night).around(lambda: run_night(night, spanned(run_here, span)))
    finish(summary, as_json)


@app.command(rich_help_panel="Work")
def approve(
    run: Annotated[
        str | None, typer.Argument(help="The run's name or id, or how it begins, where several wait")
    ] = None,
    refuse: Annotated[str, typer.Option(metavar="WHY", help="Say no instead, and why")] = "",
    why: Annotated[str, typer.Option(help="Why it may be released all the same, for the log")] = "",
    waiting: Annotated[bool, typer.Option("--list", help="Only list the runs that wait, and what they ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Let an inconclusive night release, or say no: what the form on its page in Prefect does, from here.

    Only a run under Prefect waits for a person (approval.minutes). PREFECT_API_URL says where its server is.
    """
    from errata.flows.prefect_runs.approval import answer_run, waiting_runs
    from errata.flows.workspace import operator

    if waiting:
        found = waiting_runs()
        if as_json:
            say_json([{"id": str(each.id), "name": each.name, "question": each.question} for each in found])
            return
        for each in found:
            out.print(f"{each.name}: {each.question}", highlight=False)
        if not found:
            out.print("no night waits for a person")
        return
    answered = answer_run(run, release=not refuse, who=operator(), why=refuse or why)
    said = "may be released" if not refuse else "is not released"
    if as_json:
        say_json({"id": str(answered.id), "name": answered.name, "release": not refuse, "by": operator()})
        return
    out.print(f"{answered.question}\n{answered.name} {said}; the run goes on", highlight=False)


@app.command(rich_help_panel="Work")
def demo(store: Store = None) -> None:
    """A day with Errata: train a root if there is none, report its real mistakes, run the night, prove the result."""
    from errata.flows.cli.demo import run_day

    if run_day(store, out).outcome == "not released":
        raise typer.Exit(GATE_SAID_NO)


@app.command(rich_help_panel="Work")
def serve(port: Annotated[int, typer.Option(help="Port of Prefect's server")] = 4200, store: Store = None) -> None:
    """A Prefect server, the deployments of prefect.yaml and a worker, until interrupted."""
    from errata.flows.prefect_runs.services import serve_prefect

    serve_prefect(port, store)
