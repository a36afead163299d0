"""Commands about reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from errata.flows.cli.base import AsJson, Store, app, notes, out, say_json
from errata.flows.cli.filing_group import FilingGroup

report_group = typer.Typer(cls=FilingGroup, help="Report an image that the live model gets wrong.")
app.add_typer(report_group, name="report", rich_help_panel="Reports")


@report_group.command("file", epilog="`errata report show REPORT` tells what became of one, `errata reports` of all.")
def report(
    images: Annotated[list[Path], typer.Argument(help="Image files that were predicted wrong (PNG, JPEG, WebP, BMP)")],
    expected: Annotated[str, typer.Option(help="The class that they should be")],
    predicted: Annotated[str | None, typer.Option(help="The class that was predicted, if known")] = None,
    reporter: Annotated[str, typer.Option(help="Who says so")] = "anonymous",
    note: Annotated[str, typer.Option(help="Anything to add")] = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Report images that the live model gets wrong; the next night looks at them.

    Where one is refused, those before it are filed; the same again is the same report. With --json a report, of several
    images a list.
    """
    from errata.data.releases.erasure import erased_digests
    from errata.data.releases.manifest import read_live, sha256
    from errata.data.reports import file_report
    from errata.editing.errors import DataError
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.classes import check_class, read_classes

    storage = existing_store(store)
    live, erased = read_live(storage), erased_digests(storage)
    classes = read_classes(storage, live[0]) if live else None
    if classes is None:
        notes.print("nothing released yet says which classes there are; taken as it stands", style="dim")
    else:
        for name in (expected, *([] if predicted is None else [predicted])):
            check_class(name, classes)
    version, filed = live[0].version if live else None, []
    for image in images:
        try:
            content = image.read_bytes()
        except OSError as fault:
            raise DataError(f"{image}: {fault.strerror}") from fault
        if sha256(content) in erased:
            raise DataError(f"{image}: this photo was erased because somebody asked for it; it is not taken again")
        one = file_report(
            storage, content, expected, predicted=predicted, reporter=reporter, model_version=version, note=note
        )
        filed.append(one.model_dump(mode="json"))
        if not as_json:
            out.print(f"filed report {one.id[:12]}: {image.name} should be {expected}")
    if as_json:
        say_json(filed if len(filed) > 1 else filed[0])


@app.command(rich_help_panel="Reports")
def waiting(store: Store = None, as_json: AsJson = False) -> None:
    """List the claims that wait for more people: how doubtful each is, and what it needs."""
    from rich.table import Table
    from rich.text import Text

    from errata.data.belief.waiting import still_waiting
    from errata.flows.cli.store import existing_store
    from errata.flows.night.summary import WAITING_HEAD, waiting_rows

    found, others = still_waiting(existing_store(store))
    if as_json:
        say_json({"at": found.at if found else None, "claims": found.claims if found else (), "not_looked_at": others})
        return
    if found and found.claims:
        table = Table(*WAITING_HEAD, title=f"As the night of {found.at[:16]} UTC left them", title_justify="left")
        for cells in waiting_rows(found.claims):
            table.add_row(*map(Text, cells))
        out.print(table)
    else:
        out.print("no claim waits for more people")
    if others:
        out.print(f"{others} more reports are in the inbox: the next night looks at them", highlight=False)


@app.command(rich_help_panel="Reports")
def quarantine(store: Store = None, as_json: AsJson = False) -> None:
    """List the reports that could not be used, and why."""
    from rich.table import Table
    from rich.text import Text

    from errata.data.inbox.quarantine import quarantined
    from errata.flows.cli.store import existing_store

    records = list(quarantined(existing_store(store)))
    if as_json:
        say_json([record.model_dump(mode="json") for record in records])
        return
    if not records:
        out.print("nothing is in quarantine")
        return
    table = Table("report", "reason", "when", "particulars")
    for record in records:
        when = f"{record.when:%Y-%m-%d %H:%M}"
        table.add_row(*(Text(cell) for cell in (record.id[:12], record.reason, when, record.detail)))
    out.print(table)
    out.print("`errata requeue REPORT` sends one back to the inbox", highlight=False)


@app.command(rich_help_panel="Reports")
def requeue(
    reports: Annotated[list[str], typer.Argument(help="Reports in quarantine, or how their names begin")],
    store: Store = None,
) -> None:
    """Send reports from quarantine back to the inbox; the next night looks at them again."""
    from errata.data.inbox import quarantine as kept
    from errata.flows.cli.store import existing_store

    storage = existing_store(store)
    for prefix in reports:
        report = kept.one_quarantined(storage, prefix)
        kept.requeue(storage, report)
        out.print(f"report {report[:12]} is back in the inbox", highlight=False)
