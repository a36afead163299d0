"""What every command shares: the app, the options, and how a command speaks to people and to machines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich")


class Terminal(Console):
    """A console to which text is text, whoever wrote it: nothing in a reporter's name or note, say, is taken for rich's
    markup, and no character that commands a terminal or turns the direction of writing gets to it."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment("".join(filter(_is_shown, segment.text)), segment.style)


def _is_shown(letter: str) -> bool:
    return letter in "\n\t" or unicodedata.category(letter) not in {"Cc", "Cf", "Cs"}


out, notes = Terminal(), Terminal(stderr=True)

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
    notes.print(line, style="dim", highlight=False)
