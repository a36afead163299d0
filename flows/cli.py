"""The command line: `errata --help`. Faults of the ErrataError tree end as one readable line and their exit code.

Exit codes: 0 done (also "nothing to correct"); 1 something a person must act on; 2 wrong usage; 3 the gate said no.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from editing.errors import ErrataError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
out, notes = Console(), Console(stderr=True)

GATE_SAID_NO = 3

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="ERRATA_STORE", help="A folder or s3://bucket/prefix. Default: ./store"),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on standard output")]


@app.callback()
def errata() -> None:
    """Corrects deployed image classifiers: reports of mispredictions become proven, traceable edits of the weights.

    A first day: `errata train` releases a root model, `errata report IMAGE --expected CLASS` files what it got wrong,
    `errata correct` runs the night, `errata status` says what is live.
    """


def say_json(content: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(content, indent=1, sort_keys=True, default=str))


@app.command()
def report(
    image: Annotated[Path, typer.Argument(help="The image file that was predicted wrong (PNG, JPEG, WebP, BMP)")],
    expected: Annotated[str, typer.Option(help="The class that it should be")],
    predicted: Annotated[str | None, typer.Option(help="The class that was predicted, if known")] = None,
    reporter: Annotated[str, typer.Option(help="Who says so")] = "anonymous",
    note: Annotated[str, typer.Option(help="Anything to add")] = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Report an image that the live model gets wrong; the next night looks at it."""
    from data.manifest import read_live
    from data.reports import file_report
    from editing.errors import DataError
    from flows import settings

    try:
        content = image.read_bytes()
    except OSError as fault:
        raise DataError(f"{image}: {fault.strerror}") from fault
    storage = settings.storage(store)
    live = read_live(storage)
    filed = file_report(
        storage,
        content,
        expected,
        predicted=predicted,
        reporter=reporter,
        model_version=live[0].version if live else None,
        note=note,
    )
    if as_json:
        say_json(filed.model_dump(mode="json"))
    else:
        out.print(f"filed report {filed.id[:12]}: {image.name} should be {expected}")


@app.command()
def status(store: Store = None, as_json: AsJson = False) -> None:
    """What is live, and what waits."""
    from data import layout
    from data.manifest import read_live, read_manifest
    from flows import settings

    storage = settings.storage(store)
    found = read_live(storage)
    content: dict[str, Any] = {
        "store": storage.url,
        "live": None,
        "waiting": sum(1 for _ in storage.keys(layout.INBOX)),
        "quarantined": sum(1 for _ in storage.keys(layout.QUARANTINE)),
    }
    if found:
        manifest = read_manifest(storage, found[0].version, found[0].manifest_sha256)
        content |= {"live": found[0].version, "kind": manifest.kind, "corrections": manifest.corrections}
        content |= {"digest": manifest.digest, "root": manifest.root}
    if as_json:
        say_json(content)
        return
    table = Table(show_header=False)
    for name, value in content.items():
        table.add_row(name, "nothing yet: run `errata train`" if value is None else str(value))
    out.print(table)


@app.command()
def releases(store: Store = None, as_json: AsJson = False) -> None:
    """Every change of what is live: released, rolled back, by whom and why."""
    from data import layout
    from data.manifest import read_live
    from flows import settings

    storage = settings.storage(store)
    entries = [json.loads(storage.get(key)) for key in storage.keys(layout.LOG)]
    found = read_live(storage)
    if as_json:
        say_json(entries)
        return
    table = Table("version", "action", "previous", "by", "why", "at")
    for entry in entries:
        mark = " (live)" if found and entry["serial"] == found[0].serial else ""
        table.add_row(
            f"{entry['version']}{mark}",
            *(str(entry[name] or "-") for name in ("action", "previous", "by", "why", "at")),
        )
    out.print(table)


@app.command()
def verify(
    version: Annotated[int | None, typer.Argument(help="The release to check; the live one by default")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a release against its manifest; names each changed, missing or extra file."""
    from data.manifest import verify_bundle
    from flows import settings
    from flows.release import require_live

    storage = settings.storage(store)
    live, _ = require_live(storage)
    which = live.version if version is None else version
    problems = verify_bundle(storage, which, live.manifest_sha256 if which == live.version else None)
    if as_json:
        say_json({"version": which, "problems": problems})
    elif problems:
        for problem in problems:
            out.print(f"[red]{problem}[/]")
    else:
        out.print(f"release {which} is whole")
    if problems:
        raise typer.Exit(1)


@app.command()
def train(store: Store = None, as_json: AsJson = False) -> None:
    """Train a root model and release it."""
    from flows import settings, train_model

    finish(train_model.run(settings.open_night(store, None, None, tell)), as_json)


@app.command()
def correct(store: Store = None, as_json: AsJson = False) -> None:
    """A night, now, without Prefect: collect, validate, edit, judge, release."""
    from flows import night, settings

    finish(night.run(settings.open_night(store, None, None, tell)), as_json)


@app.command()
def demo(store: Store = None) -> None:
    """A day with Errata: train a root if there is none, report its real mistakes, run the night, prove the result."""
    from flows.demo import run_day

    finish(run_day(store, out), as_json=False)


@app.command()
def serve(port: Annotated[int, typer.Option(help="Port of Prefect's server")] = 4200, store: Store = None) -> None:
    """A Prefect server, the deployments of prefect.yaml and a worker, until interrupted."""
    from flows.serve import serve_prefect

    serve_prefect(port, store)


def tell(line: str) -> None:
    """Progress, to standard error."""
    notes.print(line, style="dim", markup=False, highlight=False)


def finish(summary: Any, as_json: bool) -> None:
    """Print a night's summary; exit code 3 if the gate said no."""
    from flows.summary import print_summary

    if as_json:
        say_json(summary.to_json())
    else:
        print_summary(summary, out)
    if summary.outcome == "not released":
        raise typer.Exit(GATE_SAID_NO)


def main() -> None:
    """Entry point: faults are one line that says what to do."""
    try:
        app()
    except ErrataError as fault:
        notes.print(f"[bold red]Error:[/] {fault}", highlight=False)
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
