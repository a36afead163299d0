"""A row that is stopped anywhere ends as if it had not been; one of other settings is begun anew."""

from pathlib import Path

import torch

from benchmarks.report import HEADINGS, markdown, per_cent, row
from benchmarks.rows import kept_value, run_row
from errata.editing.editors.gradient import GradientEditor
from errata.editing.metrics import Estimate
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control, draw_demands
from tests.editing.models import small_images, small_model

CONTROL = Control(small_model(), small_images(30), torch.arange(30) % 4)
EDITOR = GradientEditor(RMSProp(0.02), Scope("head"))
VIEWS = ViewSettings(fitting=2, unseen=2, max_shift=0.13)


def test_stopped_and_resumed(tmp_path: Path) -> None:
    demands = draw_demands(5, 30, 4, seed=0)
    prepared: list[int] = []

    def run(name: str, count: int, editor: GradientEditor = EDITOR) -> list[tuple[object, ...]]:
        def prepare(root: object) -> object:
            prepared.append(count)
            return editor.prepare(CONTROL.root, CONTROL.images, CONTROL.images)

        trials = run_row(tmp_path / name, editor, prepare, lambda: CONTROL, demands[:count], VIEWS)
        return [(one.image, one.steps, one.drawdown, one.harm, one.generalization) for one in trials]

    straight = run("straight.jsonl", 5)
    assert run("stopped.jsonl", 2) == straight[:2]
    with (tmp_path / "stopped.jsonl").open("a") as file:
        file.write('{"image": 3, "exp')  # killed while writing
    assert run("stopped.jsonl", 5) == straight and run("stopped.jsonl", 3) == straight[:3]
    assert prepared == [5, 2, 5]
    run("stopped.jsonl", 1, GradientEditor(RMSProp(0.01), Scope("head")))
    assert prepared[-1] == 1 and (tmp_path / "stopped.old").exists()


def test_values_are_made_once(tmp_path: Path) -> None:
    found = [kept_value(tmp_path / "a" / "b.json", lambda number=number: {"made": number}) for number in (1, 2)]  # type: ignore[misc]
    assert found == [{"made": 1}, {"made": 1}]


def test_tables(tmp_path: Path) -> None:
    assert per_cent(Estimate(0.01774, 0.015, 0.0201, 9)) == "1.77% [1.50, 2.01]" and per_cent(None) == "-"
    trials = run_row(
        tmp_path / "row.jsonl",
        EDITOR,
        lambda root: EDITOR.prepare(root, CONTROL.images, CONTROL.images),
        lambda: CONTROL,
        draw_demands(5, 30, 4, seed=0),
        VIEWS,
    )
    lines = markdown(HEADINGS, [row("head", "rate", trials, with_already=True)]).splitlines()
    assert (
        len(lines) == 3 and len({line.count("|") for line in lines}) == 1 and lines[2].startswith("| head | rate | 5 |")
    )
