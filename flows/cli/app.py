"""The command line: `errata --help`. Faults of the ErrataError tree end as one readable line and their exit code.

Exit codes: 0 done (also "nothing to correct"); 1 something a person must act on; 2 wrong usage; 3 the gate said no.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.text import Text

from errata.editing.errors import ErrataError
from errata.flows.cli import (
    control,
    deltas,
    erasing,
    init,
    kinds,
    labelling,
    live,
    nights,
    pages,
    registry,
    releases,
    report_states,
    reports,
    reviewing,
    studies,
)
from errata.flows.cli.base import app, notes, out

EXIT_CODES = (
    'Exit codes: 0 done, also "nothing to correct"; 1 something a person must act on; '
    "2 wrong usage; 3 the gate said no."
)
__all__ = [
    "app",
    "control",
    "deltas",
    "erasing",
    "init",
    "kinds",
    "labelling",
    "live",
    "main",
    "nights",
    "pages",
    "registry",
    "releases",
    "report_states",
    "reports",
    "reviewing",
    "studies",
]


PANELS = ("Work", "Reports", "Releases", "Studies")  # of the help, in this order; what is live comes before what was
app.registered_commands.sort(
    key=lambda command: (PANELS.index(str(command.rich_help_panel)), command.callback is not live.status)
)


def _say_version(wanted: bool) -> None:
    if wanted:
        out.print(f"errata {version('errata-models')}", highlight=False)
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def errata(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is")
    ] = False,
) -> None:
    """Corrects deployed image classifiers: reports of mispredictions become proven, traceable edits of the weights.

    A first day: `errata train` releases a root model, `errata report IMAGE --expected CLASS` files what it got wrong,
    `errata correct` runs the night, `errata status` says what is live.
    """


def main() -> None:
    """Entry point: faults are one line that says what to do."""
    try:
        app()
    except ErrataError as fault:
        notes.print(Text("Error:", "bold red"), f"{fault}", highlight=False)
        sys.exit(fault.exit_code)
    except OSError as fault:  # a full disk, a folder that may not be written
        what = f"{fault.filename}: {fault.strerror}" if fault.filename else fault.strerror or str(fault)
        notes.print(Text("Error:", "bold red"), f"{what}; check the disk's space and permissions", highlight=False)
        sys.exit(1)
    except Exception as fault:
        if os.environ.get("ERRATA_DEBUG"):
            raise
        notes.print(Text("Error:", "bold red"), f"{type(fault).__name__}: {fault}", highlight=False)
        notes.print("This is not foreseen: nothing was released. ERRATA_DEBUG=1 shows the trace; please report it.")
        sys.exit(1)


if __name__ == "__main__":
    main()
