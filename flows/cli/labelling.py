"""Commands that hand the queue to a label tool, and take back what was said there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from errata.flows.cli.base import AsJson, Store, app, notes, out, say_json

if TYPE_CHECKING:
    from errata.data.reports import Report

label_studio = typer.Typer(no_args_is_help=True, help="Label Studio: the queue as tasks, annotations as reports.")
app.add_typer(label_studio, name="label-studio", rich_help_panel="Reports")
fiftyone = typer.Typer(no_args_is_help=True, help="FiftyOne: the queue as a data set, decisions as reports.")
app.add_typer(fiftyone, name="fiftyone", rich_help_panel="Reports")


@label_studio.command()
def export(
    tasks: Annotated[Path, typer.Argument(help="Where to write the tasks, a JSON file to import there")],
    interface: Annotated[Path | None, typer.Option(help="Where to write the project's labelling interface")] = None,
    store: Store = None,
) -> None:
    """Write the claims that wait as tasks: the image, what is claimed by whom, and what the live model says."""
    import json

    from errata.flows.cli.review import label_studio as format_of
    from errata.flows.cli.review.live import Desk
    from errata.flows.cli.store import existing_store
    from errata.flows.workspace import open_workspace

    desk = Desk(existing_store(store))
    made = list(format_of.tasks(desk, open_workspace().params.trust))
    tasks.write_text(json.dumps(made, indent=1))
    if interface:
        interface.write_text(format_of.interface(desk.model().classes))
    notes.print(f"wrote {len(made)} tasks to {tasks}", highlight=False)


@label_studio.command("import")
def import_(
    annotations: Annotated[Path, typer.Argument(help="Label Studio's export in its JSON format")],
    annotator: Annotated[
        list[str] | None, typer.Option(metavar="ID=NAME", help="Who an annotator is whom the file numbers only")
    ] = None,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """File what annotators chose as their reports: the next night believes them as it believes everybody."""
    from errata.editing.errors import DataError
    from errata.flows.cli.review.annotations import file_annotations
    from errata.flows.cli.review.label_studio import read_annotations
    from errata.flows.cli.review.live import Desk
    from errata.flows.cli.store import existing_store

    names = {}
    for each in annotator or ():
        number, _, name = each.partition("=")
        if not number.isdecimal() or not name:
            raise typer.BadParameter(f"{each!r} is not ID=NAME, 1=ann say")
        names[int(number)] = name
    try:
        content = annotations.read_bytes()
    except OSError as fault:
        raise DataError(f"{annotations}: {fault.strerror}") from fault
    desk = Desk(existing_store(store))
    found = read_annotations(content, names)
    _tell(file_annotations(desk.storage, desk.model().classes, found, "said in Label Studio"), as_json)


@fiftyone.command("export")
def export_dataset(
    folder: Annotated[Path, typer.Argument(help="A new folder for the data set")],
    store: Store = None,
) -> None:
    """Write the claims that wait as a data set: images, what is claimed by whom, and what the live model says."""
    from errata.flows.cli.review.fiftyone import write_dataset
    from errata.flows.cli.review.live import Desk
    from errata.flows.cli.store import existing_store
    from errata.flows.workspace import open_workspace

    made = write_dataset(Desk(existing_store(store)), open_workspace().params.trust, folder)
    notes.print(f"wrote {made} samples to {folder}", highlight=False)


@fiftyone.command("import")
def import_dataset(
    folder: Annotated[Path, typer.Argument(help="What FiftyOne exported as a FiftyOneDataset")],
    reporter: Annotated[str, typer.Option(help="Who decided there. Default: who runs this")] = "",
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """File what somebody decided there, by the field `decision` or a tag `is:CLASS`, as that person's reports."""
    from errata.flows.cli.review.annotations import file_annotations
    from errata.flows.cli.review.fiftyone import read_decisions
    from errata.flows.cli.review.live import Desk
    from errata.flows.cli.store import existing_store
    from errata.flows.workspace import operator

    desk = Desk(existing_store(store))
    found = read_decisions(folder, reporter or operator())
    _tell(file_annotations(desk.storage, desk.model().classes, found, "said in FiftyOne"), as_json)


def _tell(filed: list[Report], as_json: bool) -> None:
    if as_json:
        say_json([each.model_dump(mode="json") for each in filed])
    else:
        out.print(f"filed {len(filed)} reports", highlight=False)
