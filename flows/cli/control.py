"""Commands about the control set: the images that judge releases, and how often they were looked at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from errata.flows.cli.base import AsJson, Store, app, out, say_json, tell

control = typer.Typer(no_args_is_help=True, help="The images that judge releases, and how often they were looked at.")
app.add_typer(control, name="control", rich_help_panel="Work")


@control.command()
def add(
    source: Annotated[
        Path, typer.Argument(help="A folder with a folder of images for each class, a CSV file, tar or Parquet files")
    ],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Judge releases on new labelled images from now on: looks start anew; the old gate images stay, as `retired`."""
    from errata.flows.night.state import open_night

    night = open_night(store, None, None, tell)
    from errata.flows.night.control import add_gate

    added = add_gate(night, source)
    if as_json:
        say_json(asdict(added))
        return
    out.print(f"gate split {added.digest[:12]}: {added.images} images, no looks yet")
    for why, count in added.left_out.items():
        out.print(f"left out: {count} {why}")


@control.command()
def show(store: Store = None, as_json: AsJson = False) -> None:
    """How often the gate split was looked at, what that spent, and how many flips each limit still lets pass."""
    from errata.flows.cli.store import existing_store
    from errata.flows.gate.standing import gate_standing
    from errata.flows.gate.tolerance import HEADING
    from errata.flows.workspace import open_workspace

    standing = gate_standing(open_workspace(), existing_store(store))
    if as_json:
        say_json(standing)
        return
    print_rows("The gate split", standing.lines())
    table = Table(*standing.head, title=HEADING, title_justify="left")
    for row in standing.tolerances:
        table.add_row(*row.cells)
    out.print(table)


@control.command()
def sealed(store: Store = None, as_json: AsJson = False) -> None:
    """Look at the sealed split: whether the gate split has been selected by. Each look is counted; look rarely."""
    from errata.flows.night.state import open_night

    night = open_night(store, None, None, tell)
    from errata.flows.night.sealed import ask_sealed

    answer = ask_sealed(night)
    if as_json:
        say_json({**asdict(answer), "crept_in": answer.crept_in})
    else:
        print_rows(f"Release {answer.version} on gate split and sealed split", answer.lines())
    if answer.crept_in:
        raise typer.Exit(1)


def print_rows(title: str, rows: list[tuple[str, str]]) -> None:
    """Label and value."""
    table = Table(title=title, show_header=False, title_justify="left")
    for label, value in rows:
        table.add_row(label, value)
    out.print(table)
