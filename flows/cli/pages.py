"""Commands that make pages for a browser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from errata.flows.cli.base import Store, app, notes


@app.command(rich_help_panel="Releases")
def page(
    version: Annotated[int | None, typer.Argument(help="The release to show; the live one by default")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it; - is standard output")] = Path(
        "errata.html"
    ),
    store: Store = None,
) -> None:
    """Write a release's report with its reports and the history of the store, as one HTML file for any browser.

    With the splits of the release here it also shows the test images that the release turned. Each bundle carries the
    same page without history and people, with links to the pictures: releases/VERSION/report.html.
    """
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.page import release_page
    from errata.flows.workspace import open_workspace

    content = release_page(existing_store(store), version, open_workspace())
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    out.write_bytes(content)
    notes.print(f"wrote {out}", highlight=False)
