"""Commands about releases: what is live, what was, and whether it is whole."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from flows.commands.base import AsJson, Store, app, out, say_json


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
