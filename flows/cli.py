"""The command line: `errata --help`. Faults of the ErrataError tree end as one readable line and their exit code.

Exit codes: 0 done (also "nothing to correct"); 1 something a person must act on; 2 wrong usage; 3 the gate said no.
"""

from __future__ import annotations

import sys

from editing.errors import ErrataError
from flows.commands import nights, releases, reports
from flows.commands.base import app, notes

__all__ = ["app", "main", "nights", "releases", "reports"]


@app.callback()
def errata() -> None:
    """Corrects deployed image classifiers: reports of mispredictions become proven, traceable edits of the weights.

    A first day: `errata train` releases a root model, `errata report IMAGE --expected CLASS` files what it got wrong,
    `errata correct` runs the night, `errata status` says what is live.
    """


def main() -> None:
    """Entry point: faults are one line that says what to do."""
    try:
        app()
    except ErrataError as fault:
        notes.print(f"[bold red]Error:[/] {fault}", highlight=False)
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
