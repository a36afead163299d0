"""Commands about reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.base import AsJson, Store, app, out, say_json


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
