"""Commands about kinds: failures that many corrections share, mended as a whole."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from errata.flows.cli.base import AsJson, Store, app, out, say_json
from errata.flows.cli.releases import Why

kinds = typer.Typer(no_args_is_help=True, help="Kinds: failures that many corrections share, mended as a whole.")
app.add_typer(kinds, name="kinds", rich_help_panel="Releases")


class Answer(StrEnum):
    """Which answer is right."""

    OLD = "old"
    NEW = "new"
    NEITHER = "neither"


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


@kinds.command()
def merge(
    kinds: Annotated[list[str], typer.Argument(help="Two or more kinds' names, as `errata kinds list` has them")],
    why: Why,
    name: Annotated[str, typer.Option(help="What they are called together")] = "",
    store: Store = None,
) -> None:
    """Say that kinds are one: from the next release on they are fitted together."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.kinds import merge as merge_kinds
    from errata.flows.workspace import operator

    merge_kinds(existing_store(store), kinds, name=name, by=operator(), why=why)
    out.print(Text(f"{', '.join(kinds)} are one kind from the next release on"))


@kinds.command()
def split(
    kind: Kind,
    corrections: Annotated[list[str], typer.Argument(help="Those of it that are another kind, as in `errata show`")],
    why: Why,
    store: Store = None,
) -> None:
    """Say that a kind is two: the corrections that are named, and the rest. Later ones go where they fit better."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.kinds import split as split_kind
    from errata.flows.workspace import operator

    split_kind(existing_store(store), kind, corrections, by=operator(), why=why)
    out.print(Text(f"{kind} is two kinds from the next release on"))


@kinds.command()
def ask(
    page: Annotated[Path | None, typer.Option(help="Write them with their images to this HTML file")] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """The day's requests on which a kind changes the answer, and which nobody has judged: old, new, or neither?"""
    from dataclasses import asdict

    from errata.data.releases.questions import open_questions
    from errata.flows.cli.store import existing_store

    storage = existing_store(store)
    questions = open_questions(storage)
    if page is not None:
        from errata.flows.releases.questions import questions_page

        page.write_bytes(questions_page(storage))
    if as_json:
        say_json([asdict(each) for each in questions])
        return
    table = Table("image", "kind", "old", "new")
    for each in questions:
        table.add_row(*map(Text, (each.image[:12], each.kind, each.old, each.new)))
    out.print(table if questions else "nothing to ask")
    if page is not None:
        out.print(Text(f"with their images: {page}"))


@kinds.command()
def answer(
    image: Annotated[str, typer.Argument(help="The beginning of its digest, as `errata kinds ask` has it")],
    verdict: Annotated[Answer, typer.Argument(help="Which of the two answers is right")],
    by: Annotated[str, typer.Option(help="Who says so; by default you")] = "",
    store: Store = None,
) -> None:
    """Answer one question: old, new or neither is right. The next night judges the kind by it."""
    from errata.flows.cli.store import existing_store
    from errata.flows.releases.questions import answer as record_answer
    from errata.flows.workspace import operator

    question = record_answer(existing_store(store), image, verdict.value, by or operator())
    right = {"old": question.old, "new": question.new, "neither": f"neither {question.old} nor {question.new}"}
    out.print(Text(f"{question.image[:12]} is {right[verdict.value]}"))


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
    from errata.editing.errors import DataError
    from errata.editing.onnx.classifier import OnnxClassifier
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
