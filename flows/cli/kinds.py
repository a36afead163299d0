"""Commands about kinds: failures that many corrections share, mended as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from errata.flows.cli.base import AsJson, Store, app, out, say_json
from errata.flows.cli.releases import Why

kinds = typer.Typer(no_args_is_help=True, help="Kinds: failures that many corrections share, mended as a whole.")
app.add_typer(kinds, name="kinds", rich_help_panel="Releases")

Kind = Annotated[str, typer.Argument(help="The kind's name, as `errata kinds list` has it")]


@kinds.command("list")
def list_kinds(store: Store = None, as_json: AsJson = False) -> None:
    """The kinds that the live release found, what each proved, and why one is not used."""
    from dataclasses import asdict

    from errata.flows.cli.store import existing_store
    from errata.flows.releases.kinds import live_kinds

    record = live_kinds(existing_store(store))
    if as_json:
        say_json([asdict(each) for each in record.kinds])
        return
    if not record.kinds:
        out.print(f"no kinds were found{': ' + record.kinds_reason if record.kinds_reason else ''}")
        return
    table = Table("kind", "fitted", "held out", "mended", "labelled", "error added inside", "used")
    for each in record.kinds:
        inside = f"{each.increase:+.1%}, at most {each.increase_bound:+.1%}" if each.labelled else "not measured"
        cells = (
            each.name,
            str(len(each.fitted)),
            str(len(each.held_out)),
            str(each.mended),
            str(each.labelled),
            inside,
            f"no: {each.why}" if each.why else "yes",
        )
        table.add_row(*map(Text, cells))
    out.print(table)


@kinds.command()
def name(kind: Kind, new: Annotated[str, typer.Argument(metavar="NAME")], why: Why, store: Store = None) -> None:
    """Give a kind a name, which it keeps from night to night."""
    _decide(store, kind, "named", why, name=new)
    out.print(Text(f"{kind} is {new} from the next release on"))


@kinds.command()
def dissolve(kind: Kind, why: Why, store: Store = None) -> None:
    """Dissolve a kind into pictures: from the next release on it is as if it never was."""
    _decide(store, kind, "dissolved", why)
    out.print(Text(f"{kind} is dissolved; `errata correct` now, or the next night, releases a model without it"))


@kinds.command()
def restore(kind: Kind, why: Why, store: Store = None) -> None:
    """Take a dissolution back: the kind is used again, if it proves itself."""
    _decide(store, kind, "restored", why)
    out.print(Text(f"{kind} may be a kind again"))


def _decide(store: str | None, kind: str, action: Any, why: str, **more: str) -> None:
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.kinds import decide
    from errata.flows.workspace import operator

    decide(existing_store(store), kind, action, by=operator(), why=why, **more)


@app.command(rich_help_panel="Reports")
def label(
    images: Annotated[list[Path], typer.Argument(help="Images of the day's requests, drawn whatever was predicted")],
    expected: Annotated[str, typer.Option("--as", help="The class that they are")],
    store: Store = None,
) -> None:
    """Say what images of the deployment are, right and wrong ones alike: they judge what a kind does to its own.

    No editor is fitted to them.
    """
    from errata.data.images import decode_image, fit_image, pixel_digest
    from errata.data.releases.kind_inputs import label_image
    from errata.data.releases.manifest import read_manifest, read_model
    from errata.editing.classifier import OnnxClassifier
    from errata.editing.errors import DataError
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.classes import check_class, read_classes
    from errata.flows.releases.pointer import require_live
    from errata.flows.workspace import operator

    storage = existing_store(store)
    live, _ = require_live(storage)
    check_class(expected, read_classes(storage, live))
    manifest = read_manifest(storage, live.version, live.manifest_sha256)
    shape = OnnxClassifier(read_model(storage, manifest)).image_shape
    for path in images:
        try:
            pixels = fit_image(decode_image(path.read_bytes()), shape)
        except OSError as fault:
            raise DataError(f"{path}: {fault.strerror}") from fault
        label_image(storage, pixel_digest(pixels), pixels, expected, operator())
    out.print(f"labelled {len(images)} as {expected}", highlight=False)
