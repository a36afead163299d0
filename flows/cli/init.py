"""`errata init`: a project of one's own in the current folder, by flags or by questions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from errata.editing.networks.imagenet import PUBLISHED, WEIGHTS
from errata.flows.cli.base import app, out, tell

if TYPE_CHECKING:
    from errata.flows.cli.new_project.choices import Choice, Network, Wishes

BUILT_IN = ("resnet", "torchvision", "timm", *WEIGHTS)
NETWORKS = ", ".join(("resnet", *WEIGHTS, "torchvision:NAME", "timm:NAME"))


@app.command(rich_help_panel="Work")
def init(
    images: Annotated[
        str, typer.Argument(help="A folder with a folder of images for each class, a CSV file (path, label), or digits")
    ] = "",
    network: Annotated[str, typer.Option(help=f"{NETWORKS} or what your plugin registers; resnet is small")] = "",
    plugin: Annotated[list[str] | None, typer.Option(help="A module of yours that registers the network")] = None,
    weights: Annotated[str, typer.Option(help="Its trained weights, a file in this folder; else it is trained")] = "",
    mean: Annotated[
        str, typer.Option(help="Mean of each channel that it was trained with, 0 to 1: 0.49,0.48,0.45")
    ] = "",
    std: Annotated[str, typer.Option(help="Their standard deviation: 0.25,0.24,0.26")] = "",
    size: Annotated[str, typer.Option(help="What images are fitted to, HEIGHTxWIDTH; by default as they are")] = "",
    classes: Annotated[str, typer.Option(help="The classes as the network counts them, if not by the alphabet")] = "",
    flip: Annotated[bool, typer.Option("--flip", help="A mirrored image is of the same class")] = False,
    accuracy: Annotated[float | None, typer.Option(min=0, max=1, help="The least that a release must have")] = None,
    trusted: Annotated[list[str] | None, typer.Option(help="A reporter whose single word counts")] = None,
    ask: Annotated[
        bool | None, typer.Option("--ask/--no-ask", help="Ask for what is not given; by default in a terminal")
    ] = None,
) -> None:
    """Begin a project here: looks at your images and writes what a release is made by. Nothing is overwritten."""
    from errata.flows.cli.new_project.choices import Network, Wishes
    from errata.flows.cli.new_project.files import refuse_a_project
    from errata.flows.workspace import open_workspace

    folder = open_workspace().folder
    refuse_a_project(folder)
    asked = sys.stdin.isatty() if ask is None else ask

    def say(given: str, question: str, default: str | None) -> str:
        if given:
            return given
        if asked:
            return str(typer.prompt(question, default=default))
        if default is None:
            raise typer.BadParameter(f"say this too: {question}")
        return default

    images = say(images, "images (a folder with a folder for each class, a CSV file, or digits)", None)
    dataset, root = _where(folder, images)
    network = say(network, f"network ({NETWORKS} or what your plugin registers)", "resnet")
    plugins = tuple(plugin or ())
    if asked and network.partition(":")[0] not in BUILT_IN and not plugins:
        plugins = tuple(filter(None, [say("", f"the module that registers {network} (empty: an installed one)", "")]))
    known = WEIGHTS.get(network)
    if asked and not known:
        weights = say(weights, "its weights, a file in this folder (empty: train it on your images)", "")
    if weights:
        mean = say(mean, "mean of each channel that it was trained with (--mean), 0.49,0.48,0.45 say", None)
        std = say(std, "their standard deviation (--std), 0.25,0.24,0.26 say", None)
    if bool(mean) != bool(std) or mean.count(",") != std.count(","):
        raise typer.BadParameter("give --mean and --std together, one number for each channel")
    chosen, wanted = Network(network, plugins, weights, _numbers(mean), _numbers(std)), _size(size)
    if known and not weights:
        chosen = Network(network, plugins, PUBLISHED, known.mean, known.std)
        wanted = wanted or (known.side, known.side)
    begin(
        folder,
        dataset,
        root,
        chosen,
        Wishes(wanted, tuple(filter(None, classes.split(","))), flip, accuracy, tuple(trusted or ())),
    )


def begin(folder: Path, dataset: str, root: str, network: Network, wishes: Wishes) -> None:
    """Look, choose, try the network, write, and say what comes next."""
    from errata.flows.cli.new_project.choices import choose
    from errata.flows.cli.new_project.files import in_git, project_files, write_project
    from errata.flows.cli.new_project.images import look_at
    from errata.flows.gate.tolerance import HEADING, LATER, tolerance_head, tolerances

    seen = None
    if dataset != "digits":
        tell(f"looking at every image of {root}")
        seen = look_at(dataset, folder / root)
    choice = choose(folder, dataset, root, seen, network, wishes)
    gate = choice.splits["gate"]
    try_network(folder, choice)
    git = in_git(folder)
    kept = write_project(folder, files := project_files(choice.params, git=git))
    table = Table(show_header=False)
    if seen:
        table.add_row(
            "images", f"{sum(seen.classes.values())}, {seen.sizes_sentence}, {'grey' if seen.grey else 'in colour'}"
        )
        table.add_row("classes", ", ".join(f"{name} ({count})" for name, count in seen.classes.items()))
    if choice.copies:
        table.add_row("left out", f"{choice.copies} images that are there twice, or with two labels")
    table.add_row("fitted to", " x ".join(map(str, choice.shape)) + " (height, width, channels)")
    table.add_row("splits", ", ".join(f"{name} {len(split)}" for name, split in choice.splits.items()))
    table.add_row("written", ", ".join(name for name in files if name not in kept))
    for name in kept:
        table.add_row("left as it is", f"{name}; it should say: {' '.join(files[name].decode().split())}")
    out.print(table)
    rows = tolerances(gate.labels, len(gate.classes), choice.params.gate)
    limits = Table(*tolerance_head(LATER), title=HEADING, title_justify="left")
    for row in rows:
        limits.add_row(*row.cells)
    out.print(limits)
    for row in rows:
        if row.flips[0] is None:
            out.print(
                f"Nothing can pass {row.name}: bring more images, or widen gate.{row.name} in params.yaml", style="red"
            )
    out.print(
        "Next: `errata train` makes the root model and releases it as version 1 (the gate's limits are in params.yaml);"
    )
    out.print(
        "`errata report IMAGE --expected CLASS --reporter YOU` says what it got wrong, `errata correct` is the night,"
    )
    out.print("`errata serve` a night every night under Prefect.")
    if not git:
        out.print(
            "Not in git, so DVC was told to do without (.dvc/config.local). With git it keeps a history of releases:"
        )
        out.print("`git init`, take `no_scm` out of that file, and set ERRATA_GIT_TAG=1.")


def try_network(folder: Path, choice: Choice) -> None:
    """Build the network for these classes and images and put its weights into it; raises where they do not fit."""
    from errata.flows.stages.common import load_plugins
    from errata.flows.stages.train import new_model
    from errata.flows.workspace import Workspace

    tell("trying the network")
    workspace = Workspace(folder)
    load_plugins(choice.params.model.plugins, workspace)
    new_model(workspace, choice.params, choice.splits["gate"].classes, choice.shape)


def _where(folder: Path, images: str) -> tuple[str, str]:
    """Which kind of data set lies at `images`, and where, from `folder`: as short as it can be said."""
    given = Path(images).expanduser().absolute()
    path = given.resolve()
    if images == "digits" and not path.exists():
        return "digits", ""
    if not path.exists():
        raise typer.BadParameter(f"{images} is not there; give a folder, a CSV file, or digits")
    if ".." not in given.parts and given.is_relative_to(folder):
        path = given  # a link in the project stays one: where it leads is another machine's business
    root = path.relative_to(folder) if path.is_relative_to(folder) else path
    return "folder" if path.is_dir() else "csv", str(root)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) for each in text.split(",") if each)
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give numbers with commas between them, 0.49,0.48,0.45 say") from None


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    try:
        height, width = (int(each) for each in text.lower().split("x"))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: give height and width in pixels, 224x224 say") from None
    return height, width
