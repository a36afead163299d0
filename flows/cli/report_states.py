"""Commands that tell what became of reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from errata.flows.cli.base import AsJson, Store, app, out, say_json
from errata.flows.cli.reports import report_group

if TYPE_CHECKING:
    from errata.data.belief.report_states import ReportState


def _plain(found: ReportState) -> dict[str, Any]:
    """Plain data."""
    fields = {name: value for name, value in vars(found).items() if name != "report"}
    return {**fields, "report": found.report and found.report.model_dump(mode="json")}


@app.command(rich_help_panel="Reports")
def reports(
    waiting: Annotated[bool, typer.Option("--waiting", help="Those that are in the inbox")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="Those that could not be used")] = False,
    mine: Annotated[str | None, typer.Option(metavar="NAME", help="Those of one reporter, however spelt")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """What became of each report: waiting with its doubt, refused and why, in which release."""
    from rich.table import Table
    from rich.text import Text

    from errata.data.belief.names import same_reporter
    from errata.data.belief.report_states import IN_INBOX, State, report_states
    from errata.flows.cli.store import existing_store

    wanted = {*(IN_INBOX if waiting else ()), *((State.REFUSED,) if refused else ())} or set(State)
    who = None if mine is None else same_reporter(mine)
    found = [
        each
        for each in report_states(existing_store(store))
        if each.state in wanted
        and (who is None or (each.report is not None and same_reporter(each.report.reporter) == who))
    ]
    found.sort(key=lambda each: (each.report.filed_at.timestamp() if each.report else 0.0, each.id), reverse=True)
    if as_json:
        say_json([_plain(each) for each in found])
        return
    if not found:
        out.print("no such report" if waiting or refused or mine else "no reports yet")
        return
    table = Table("report", "filed (UTC)", "by", "should be", "state", "why")
    for each in found:
        told = ("", "", "")
        if each.report:
            told = (f"{each.report.filed_at:%Y-%m-%d %H:%M}", each.report.reporter, each.report.expected)
        table.add_row(*map(Text, (each.id[:12], *told, each.state, each.sentence)))
    out.print(table)
    out.print("`errata report show REPORT` tells more of one", highlight=False)


@report_group.command()
def show(
    report: Annotated[str, typer.Argument(help="The report's identity, or how it begins")],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Tell what became of one report, from filing it until now."""
    from rich.table import Table
    from rich.text import Text

    from errata.data.belief.report_states import State, one_report
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.report_history import report_history

    storage = existing_store(store)
    history = report_history(storage, one_report(storage, report))
    now = history.now
    if as_json:
        decided = history.decided and asdict(history.decided)
        say_json({**_plain(now), "events": [asdict(each) for each in history.events], "decided": decided})
        return
    table = Table("when (UTC)", "what", "by", title=f"Report {now.id[:12]}", title_justify="left")
    for each in history.events:
        table.add_row(*map(Text, (each.at.replace("T", " ")[:16] or "now", each.what, each.by)))
    out.print(table)
    if now.report:
        out.print(Text(f"image {now.report.image}{'; note: ' + now.report.note if now.report.note else ''}"))
    out.print(Text(f"{now.state}: {now.sentence}"))
    if now.state == State.IN_RELEASE and history.decided and history.decided.action == "retracted":
        out.print("it was withdrawn: the next night releases a model without its correction")
