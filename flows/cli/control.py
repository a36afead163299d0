"""Commands about the control set: the images that judge releases, and how often they were looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.base import AsJson, Store, app, out, say_json, tell

control = typer.Typer(no_args_is_help=True, help="The images that judge releases, and how often they were looked at.")
app.add_typer(control, name="control", rich_help_panel="Work")


@control.command()
def add(
    source: Annotated[Path, typer.Argument(help="A folder with a folder of images for each class, or a CSV file")],
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Judge releases on new labelled images from now on: looks start anew; the old gate images stay, as `retired`."""
    from dataclasses import asdict

    from flows.night.state import open_night

    night = open_night(store, None, None, tell)
    from flows.night.control import add_gate

    added = add_gate(night, source)
    if as_json:
        say_json(asdict(added))
        return
    out.print(f"gate split {added.digest[:12]}: {added.images} images, no looks yet")
    for why, count in added.left_out.items():
        out.print(f"left out: {count} {why}")
