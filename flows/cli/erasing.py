"""Commands after which something is gone: a person's photo, old releases, spent evidence. Each first says what goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from errata.flows.cli.base import GATE_SAID_NO, AsJson, Store, app, out, say_json, tell
from errata.flows.cli.releases import Why

if TYPE_CHECKING:
    from errata.flows.night.erase import ErasurePlan

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done")]


@app.command(rich_help_panel="Releases")
def erase(
    why: Why,
    photo: Annotated[str, typer.Argument(help="The digest of its file, a report or a correction of it")] = "",
    image: Annotated[Path | None, typer.Option(help="The photo itself, or a copy of it, as a file")] = None,
    yes: Yes = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Erase a person's photo: its files, its reports, and every release's weights that hold it.

    A release without it is made first if the live one holds it. What stays is a proof: digests, when, why.
    """
    from errata.data.records import canonical_json
    from errata.data.releases.manifest import read_live
    from errata.editing.errors import DataError
    from errata.flows.night.state import open_night

    if bool(photo) == (image is not None):
        raise typer.BadParameter("say which photo: a digest, a report, or --image FILE")
    try:
        content = image.read_bytes() if image else b""
    except OSError as fault:
        raise DataError(f"{image}: {fault.strerror}") from fault
    night = open_night(store, None, None, tell)
    from errata.flows.night.erase import erase as carry_out
    from errata.flows.night.erase import plan_erasure

    plan = plan_erasure(night.storage, name=photo, content=content, by=night.by, why=why)
    if not as_json:
        _print_erasure(plan)
    if not yes:
        if as_json:
            say_json(plan)
        else:
            out.print("nothing is changed yet; --yes does it")
        return
    done = carry_out(night, plan)
    if as_json:
        print(canonical_json({"erasure": done.erasure, "erased": done.erased}).decode(), end="")
    elif done.erased:
        live = read_live(night.storage)
        now = f"live is release {live[0].version}" if live else "nothing is live"
        out.print(f"erased, and {now}; the proof is {done.erasure.key}")
        if done.erased.taught:
            out.print(f"the root of {_releases(done.erased.taught)} learned from it: `errata train` makes another")
        if "://" in night.storage.url:
            out.print("if the bucket keeps old versions of objects, its lifecycle rule ends them (docs/erase.md)")
    if done.erased is None:
        said = done.night.sentence if done.night else ""
        tell(f"its pictures are gone, but the gate lets no release without it pass: {said}. Mend that, erase again")
        raise typer.Exit(GATE_SAID_NO)


def _print_erasure(plan: ErasurePlan) -> None:
    photo = plan.erasure
    table = Table(title="To be erased", show_header=False, title_justify="left")
    table.add_row("files", "\n".join(photo.images) or "none")
    table.add_row(
        "corrections", "\n".join(f"{each.id[:12]} is {each.expected}" for each in photo.corrections) or "none"
    )
    table.add_row("reports", str(len(photo.reports)))
    table.add_row("weights of", _releases(plan.holding) or "no release")
    if photo.gates:
        table.add_row(
            "gate splits",
            ", ".join(f"{each.before[:12]} becomes {each.after[:12] or 'nothing'}" for each in photo.gates),
        )
    if plan.live in plan.holding:
        table.add_row("live", f"release {plan.live} holds it: a night makes one without it first")
    if plan.never_live:
        table.add_row("bundles that never were live", ", ".join(map(str, plan.never_live)))
    if plan.taught:
        table.add_row("learned from it", f"the root of {_releases(plan.taught)}; `errata train` makes another")
    if plan.unread:
        told = f"{len(plan.unread)} objects that cannot be read now, and may be of it; the first is {plan.unread[0]}"
        table.add_row("stays", told)
    if plan.asked:
        table.add_row("begun", f"on {photo.at[:10]} by {photo.by}: {photo.why}")
    out.print(table)


def _releases(versions: tuple[int, ...]) -> str:
    return f"release{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}" if versions else ""


@app.command(rich_help_panel="Releases")
def prune(
    keep: Annotated[int | None, typer.Option(min=2, help="Newest releases that keep their weights")] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Only what is older than that")
    ] = None,
    yes: Yes = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Remove weights of old releases, spent evidence and counts of shadows, by the retention; never what is live."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.retention.prune import plan_prune
    from errata.flows.releases.retention.prune import prune as carry_out
    from errata.flows.workspace import open_workspace, operator

    storage = existing_store(store)
    if keep is None or older_than is None:
        stated = open_workspace().params.retention
        keep, older_than = keep or stated.releases, stated.days if older_than is None else older_than
    plan = plan_prune(storage, keep=keep, days=older_than)
    rule = f"beyond the {keep} newest releases and {older_than:g} days"
    if yes:
        carry_out(storage, plan, by=operator(), why=rule)
    if as_json:
        versions = [each.version for each in plan.releases]
        say_json(
            {
                "done": yes,
                "releases": versions,
                "files": plan.files,
                "objects": plan.objects,
                "images": plan.images,
                "counts": plan.counts,
                "bytes": plan.size,
            }
        )
        return
    if not (plan.files or plan.objects or plan.images or plan.counts):
        out.print(f"nothing to remove: nothing in the store is {rule}", highlight=False)
        return
    out.print(f"{'Gone' if yes else 'Would go'}: what is {rule}", highlight=False)
    table = Table("what", "how many", "bytes")
    releases = ", ".join(str(each.version) for each in plan.releases)
    rows = (
        (f"files of releases {releases}", plan.files),
        ("objects of DVC", plan.objects),
        ("images", plan.images),
        ("counts of shadows that are over", plan.counts),
    )
    for name, sizes in (each for each in rows if each[1]):
        table.add_row(name.strip(), str(len(sizes)), f"{sum(sizes.values()):,}")
    out.print(table)
    if not yes:
        out.print("nothing is changed yet; --yes does it, --json lists every key")
