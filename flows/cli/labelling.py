"""Commands that hand the queue to a label tool, and take back what was said there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from errata.flows.cli.base import AsJson, Store, app, notes, out, say_json

label_studio = typer.Typer(no_args_is_help=True, help="Label Studio: the queue as tasks, annotations as reports.")
app.add_typer(label_studio, name="label-studio", rich_help_panel="Reports")


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
    notes.print(f"wrote {len(made)} tasks to {tasks}", highlight=False, markup=False)


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
    from errata.flows.cli.review.label_studio import file_annotations, read_annotations
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
    filed = file_annotations(desk.storage, desk.model().classes, read_annotations(content, names))
    if as_json:
        say_json([each.model_dump(mode="json") for each in filed])
        return
    out.print(f"filed {len(filed)} reports", highlight=False)
