"""What every command shares: the app, the options, and how a command speaks to people and to machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
out, notes = Console(), Console(stderr=True)

GATE_SAID_NO = 3

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="ERRATA_STORE", help="A folder or s3://bucket/prefix. Default: ./store"),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on standard output")]


def say_json(content: Any) -> None:
    """One JSON document on standard output."""
    from errata.data.records import canonical_json

    print(canonical_json(content).decode(), end="")


def tell(line: str) -> None:
    """Progress, to standard error."""
    notes.print(line, style="dim", markup=False, highlight=False)
