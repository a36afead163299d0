"""Commands that study editors on the workspace's root; they release nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from errata.flows.cli.base import AsJson, app, notes, out, say_json, tell


@app.command(rich_help_panel="Studies")
def compare(
    editor: Annotated[
        list[str] | None, typer.Option(help="patch, natural, or a rule; may be given again. Default: all of them")
    ] = None,
    edits: Annotated[int, typer.Option(help="How many test images to edit, each to a random class")] = 50,
    picture: Annotated[Path, typer.Option(help="Where to draw drawdown against generalization")] = Path("frontier.png"),
    as_json: AsJson = False,
) -> None:
    """Try editors on this root: how much each breaks, how far each edit reaches, how long it takes.

    Every editor makes the same edits of the test split, each from the unedited root. Needs `errata train` first.
    """
    from dataclasses import asdict

    from rich.table import Table
    from rich.text import Text

    from errata.editing.rules import RULES
    from errata.editing.studies.compare import draw_frontier
    from errata.editing.studies.protocol import summarise
    from errata.editing.studies.requirements import require
    from errata.flows.cli.root_studies import compare_editors
    from errata.flows.workspace import open_workspace

    require("matplotlib")
    names = editor or ["patch", "natural", *RULES]
    trials = compare_editors(open_workspace(), names, edits)
    best = draw_frontier(trials, picture)
    notes.print(f"wrote {picture}", highlight=False)
    rows = {name: summarise(found, with_already=False) for name, found in trials.items()}
    if as_json:
        say_json({name: {**asdict(one), "frontier": name in best} for name, one in rows.items()})
        return
    table = Table("editor", "edits", "drawdown", "negative flips", "success", "generalization", "seconds an edit")
    for name, one in sorted(rows.items(), key=lambda each: each[1].drawdown.mean):
        general = one.generalization
        table.add_row(
            Text(name, "bold" if name in best else ""),
            str(one.drawdown.n),
            f"{one.drawdown.mean:.2%}",
            f"{one.negative_flips.mean:.2%}",
            f"{one.success.mean:.0%}",
            f"{general.mean:.0%}" if general else "-",
            f"{one.seconds.mean:.3f}",
        )
    out.print(table)
    out.print("Bold: no other editor has both less drawdown and more generalization.")


@app.command(rich_help_panel="Studies")
def tune(
    rule: Annotated[str, typer.Argument(help="gd, scaled_gd, polyak, rprop, rmsprop, momentum or adam")],
    scope: Annotated[list[str] | None, typer.Option(help="Layers to try; may be given again. Default: chain3")] = None,
    edits: Annotated[int, typer.Option(help="How many calibration images to edit in each trial")] = 20,
    trials: Annotated[int, typer.Option(help="How many settings to try")] = 20,
    as_json: AsJson = False,
) -> None:
    """Search a rule's coefficients and layers for the least drawdown, among those that succeed in 95% of edits.

    Prints the lines for params.yaml.
    """
    from dataclasses import asdict

    from errata.editing.studies.requirements import require
    from errata.flows.cli.root_studies import tune_rule
    from errata.flows.workspace import open_workspace

    require("optuna")
    found = tune_rule(open_workspace(), rule, scope or ["chain3"], edits, trials, tell)
    values = {name: getattr(found.editor.rule, name) for name in found.editor.rule.coefficients}
    if as_json:
        say_json({**asdict(found), "editor": rule, "rule": values})
        return
    if not found.success:
        notes.print(f"None of {found.tried} settings succeeded in 95% of edits; the best is below.", style="yellow")
    else:
        notes.print(f"validation drawdown {found.drawdown:.2%}, success {found.success:.0%}", highlight=False)
    out.print("edit:", f"  editor: {rule}", f"  scope: {found.scope}", "  rule:", sep="\n", highlight=False)
    for name, value in values.items():
        out.print(f"    {name}: {value:.4g}", highlight=False)
