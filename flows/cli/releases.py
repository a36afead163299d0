"""Commands about releases: what was released, and whether it is whole."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from errata.flows.cli.base import AsJson, Store, app, out, say_json, tell


def _reason(why: str) -> str:
    if not why.strip():
        raise typer.BadParameter("it is blank; say why, for whoever reads the log")
    return why


Why = Annotated[str, typer.Option("--why", callback=_reason, help="The reason, for the log")]
Expected = Annotated[str | None, typer.Option(help="The claimed class, where one image has had several")]


@app.command(rich_help_panel="Releases")
def releases(store: Store = None, as_json: AsJson = False) -> None:
    """Every change of what is live: released, rolled back, by whom and why."""
    from errata.data.releases.manifest import read_live
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.pointer import log_entries

    storage = existing_store(store)
    entries = [json.loads(each.to_json()) for each in log_entries(storage)]
    found = read_live(storage)
    if as_json:
        say_json(entries)
        return
    table = Table("version", "action", "previous", "by", "why", "at (UTC)")
    for entry in entries:
        mark = " (live)" if found and entry["serial"] == found[0].serial else ""
        table.add_row(
            f"{entry['version']}{mark}",
            *(str(entry[name] or "-") for name in ("action", "previous", "by", "why")),
            entry["at"].replace("T", " ")[:16],
        )
    out.print(table)


@app.command(rich_help_panel="Releases")
def verify(
    version: Annotated[int | None, typer.Argument(help="The release to check; the live one by default")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a release against the digest in the log; names each changed, missing or extra file."""
    from errata.data import layout
    from errata.data.releases.removal import removal_of
    from errata.editing.errors import Expired
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.contents.model_signature import release_problems
    from errata.flows.releases.pointer import released_digest, require_live

    storage = existing_store(store)
    pointer, _ = require_live(storage)
    which = pointer.version if version is None else version
    removal = None if which == pointer.version else removal_of(storage, which)  # nothing may be missing of what is live
    problems = release_problems(storage, which, released_digest(storage, which), removal.files if removal else None)
    if which == pointer.version:
        try:
            pointer.check_fresh(datetime.now(UTC), f"{storage.url}/{layout.LIVE}")
        except Expired as fault:
            problems = (*problems, str(fault))
    if as_json:
        say_json({"version": which, "problems": problems, "removed": removal})
    for problem in () if as_json else problems:
        out.print(problem, style="red")
    if problems:
        raise typer.Exit(1)
    if as_json:
        return
    if removal:
        out.print(
            f"release {which} was {removal.sentence}. Gone: {', '.join(sorted(removal.files))}; all else is whole"
        )
    else:
        out.print(f"release {which} is whole")


@app.command(rich_help_panel="Releases")
def sign(store: Store = None) -> None:
    """Sign what is there, once, when a team begins to sign: releases, log and live.json with ERRATA_SIGNING_KEY,
    releases with ERRATA_MODEL_KEY (`model.sig`, for OpenSSF's model_signing)."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.contents.sign import sign_store

    signed = sign_store(existing_store(store))
    tell(f"signed: {len({each.version for each in signed})} releases, {len(signed)} entries of the log, live.json")


@app.command(rich_help_panel="Releases")
def retract(
    correction: Annotated[str, typer.Argument(help="The correction's identity, or how it begins")],
    why: Why,
    expected: Expected = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a correction: the next night releases a model without it, and nothing brings it back by itself."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.retraction import retract as withdraw
    from errata.flows.workspace import operator

    decision, live = withdraw(existing_store(store), correction, expected, by=operator(), why=why)
    if as_json:
        say_json({"correction": decision.correction, "expected": decision.expected, "live": live.version})
        return
    out.print(f"retracted: {decision.correction[:12]} is {decision.expected}. Release {live.version} still holds it;")
    out.print("`errata correct` now, or the next night, releases a model without it")


@app.command(rich_help_panel="Releases")
def reinstate(
    correction: Annotated[str, typer.Argument(help="The retracted correction's identity, or how it begins")],
    why: Why,
    expected: Expected = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Take a retraction back: the next night solves for the correction again."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.retraction import reinstate as restore
    from errata.flows.workspace import operator

    decision, live = restore(existing_store(store), correction, expected, by=operator(), why=why)
    if as_json:
        say_json({"correction": decision.correction, "expected": decision.expected, "live": live.version})
        return
    out.print(f"reinstated: {decision.correction[:12]} is {decision.expected}; the next night brings it back.")
    out.print("reports of it that came meanwhile are in quarantine: `errata requeue` sends them back")


@app.command(rich_help_panel="Releases")
def rollback(
    why: Why,
    version: Annotated[int | None, typer.Argument(help="By default, the release before the live one")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier release live again, at once, after checking every digest of it."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.rollback import rollback as go_back
    from errata.flows.workspace import operator

    done = go_back(existing_store(store), version, by=operator(), why=why)
    if as_json:
        say_json(
            {
                "live": done.live.version,
                "left": done.left,
                "dropped": None if done.dropped is None else [each.id for each in done.dropped],
                "regained": [each.id for each in done.regained],
            }
        )
        return
    out.print(f"release {done.live.version} is live, as it was; it was release {done.left}")
    if done.dropped is None:
        out.print(f"release {done.left} is too damaged to say which corrections it held", style="yellow")
    elif done.dropped:
        out.print(f"corrections that it lacks ({len(done.dropped)}) stay out until `errata reinstate`:")
        for each in done.dropped:
            out.print(f"  {each.id[:12]} is {each.expected}")
    if done.regained:
        out.print(f"{len(done.regained)} corrections that a rollback had taken are back")


@app.command(rich_help_panel="Releases")
def show(
    version: Annotated[int | None, typer.Argument(help="The live release by default")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """What a release was made of: its inputs, every correction with the reports behind it, the gate's rows."""
    from errata.flows.cli.night_tables import print_gate
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.lineage import trace

    lineage = trace(existing_store(store), version)
    manifest = lineage.manifest
    if as_json:
        say_json(lineage.to_json())
        return
    table = Table(title=f"Release {manifest.version}", show_header=False, title_justify="left")
    for name in ("kind", "digest", "root", "ledger", "splits", "params", "code"):
        table.add_row(name, str(getattr(manifest, name)))
    table.add_row("made with", ", ".join(f"{name} {value}" for name, value in manifest.libraries.items()))
    out.print(table)
    if lineage.corrections:
        held = sum(each.holds is True for each in lineage.corrections)
        title = f"Corrections in force: {held or 'none'} of {len(lineage.corrections)} hold"
        table = Table("correction", "is", "holds", "said by", title=title, title_justify="left")
        for each in lineage.corrections:
            said = "; ".join(f"{one.reporter}: was {one.predicted or '?'} ({one.id[:12]})" for one in each.reports)
            holds = {True: Text("yes"), False: Text(each.deferred or "no", "red"), None: Text("?")}[each.holds]
            table.add_row(each.correction.id[:12], each.correction.expected, holds, said or "-")
        out.print(table)
    for kind in lineage.kinds:
        used = kind.why or f"mends {kind.mended} of {len(kind.held_out)} held-out corrections"
        out.print(f"{kind.name}, of {len(kind.fitted)} corrections: {used}", highlight=False)
    print_gate(lineage.gate, "The gate")


@app.command(rich_help_panel="Releases")
def reproduce(
    version: Annotated[int, typer.Argument(help="The release to make again")],
    into: Annotated[Path | None, typer.Option(help="An empty folder to work in, which stays")] = None,
    from_scratch: Annotated[bool, typer.Option(help="Make splits and root again as well")] = False,
    tolerance: Annotated[float, typer.Option(help="How far the gate's values may lie apart on another machine")] = 0.01,
    allow_plugin: Annotated[
        list[str] | None, typer.Option(help="A module of yours that the release may import; may be given again")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Make a release again from its bundle in a clean folder, through DVC, and compare every digest."""
    from dataclasses import asdict
    from tempfile import TemporaryDirectory

    from errata.flows.cli.store import existing_store
    from errata.flows.releases.reproduce import reproduce as again

    with TemporaryDirectory(prefix="errata-reproduce-") as temporary:
        folder = into.resolve() if into else Path(temporary) / "workspace"
        made = again(
            existing_store(store),
            version,
            folder,
            from_scratch=from_scratch,
            tolerance=tolerance,
            allowed_plugins=allow_plugin or (),
            log=tell,
        )
    if as_json:
        say_json({**asdict(made), "outcome": made.outcome})
    else:
        out.print(f"release {version}: {made.outcome}")
        for what, names in (
            ("differs", made.changed),
            ("not made again", made.not_rebuilt),
            ("made by another", made.elsewhere),
        ):
            if names:
                out.print(f"{what}: {', '.join(names)}")
        if made.changed:
            out.print(f"the gate's values lie at most {made.distance:.4f} apart; {made.tolerance:.4f} is the tolerance")
    if made.outcome == "different":
        raise typer.Exit(1)


@app.command(rich_help_panel="Releases")
def diff(
    first: Annotated[int, typer.Argument(help="A release")],
    second: Annotated[int, typer.Argument(help="The release to hold against it")],
    page: Annotated[Path | None, typer.Option("--out", "-o", help="An HTML page with pictures, too")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Two releases side by side: corrections that came and went, criteria, test images predicted differently."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.diff import Change, diff_releases
    from errata.flows.workspace import open_workspace

    found = diff_releases(existing_store(store), open_workspace(), first, second)
    if page:
        from errata.flows.releases.diff_page import diff_page

        page.write_bytes(diff_page(found))
        tell(f"wrote {page}")
    if as_json:
        say_json(found.to_json())
        return
    table = Table(title=f"Release {first} and release {second}", show_header=False, title_justify="left")
    table.add_row("root", "the same" if found.same_root else "another")
    for label, corrections in (("came", found.added), ("went", found.removed)):
        said = ", ".join(f"{each.id[:12]} is {each.expected}" for each in corrections)
        table.add_row(f"corrections that {label}", f"{len(corrections)}{': ' + said if said else ''}")
    changes: tuple[Change, ...] = ("mended", "broken", "wrong both times")
    counts = ", ".join(f"{found.count(change)} {change}" for change in changes)
    table.add_row("test images predicted differently", f"{len(found.changed)} of {found.images}: {counts}")
    for each in found.changed:
        table.add_row(f"  image {each.index}, {each.label}", f"{each.first} -> {each.second}, {each.change}")
    out.print(table)
    criteria = Table("criterion", f"release {first}", f"release {second}", title="The gate", title_justify="left")
    for row in found.criteria:
        values = (row.said(value) for value in (row.first, row.second))
        criteria.add_row(row.name.replace("_", " "), *values)
    out.print(criteria)
