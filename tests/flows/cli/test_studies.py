"""`errata compare` and `errata tune` on a real root, against the protocol itself."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from errata.data.splits import load_split
from errata.editing.editors.gradient import GradientEditor
from errata.editing.errors import NotInstalled
from errata.editing.model import load_model
from errata.editing.rules import RULES
from errata.editing.scopes import Scope
from errata.editing.studies.protocol import Control, draw_demands, run_protocol, summarise
from errata.editing.tensors import tensor_of
from errata.editing.types import Editor
from errata.flows.cli.app import app
from errata.flows.stages.editors import build_editor
from errata.flows.workspace import WORKSPACE
from tests.flows.conftest import Place


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(WORKSPACE, str(place.workspace.folder))
    return place


def test_editors_are_compared_on_the_same_edits_of_the_test_split(here: Place, tmp_path: Path) -> None:
    picture = tmp_path / "frontier.png"
    words = ["compare", "--editor", "patch", "--editor", "gd", "--edits", "8", "--picture", str(picture), "--json"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert list(found) == ["gd", "patch"] and found["patch"]["frontier"]
    assert found["patch"]["drawdown"]["n"] == found["gd"]["drawdown"]["n"] <= 8
    assert picture.read_bytes().startswith(b"\x89PNG")
    test = load_split(here.workspace.splits, "test")
    root, params = load_model(here.workspace.root), here.workspace.params
    control = Control(root, torch.from_numpy(test.images), torch.from_numpy(test.labels))
    known = [tensor_of(load_split(here.workspace.splits, name).images) for name in ("reference", "calibration")]
    demands = draw_demands(8, len(test.labels), 10, seed=0)
    alone: dict[str, Editor[Any]] = {
        "gd": GradientEditor(RULES["gd"](), Scope("chain3"), 10, margin=0.05),
        "patch": build_editor(params.edit, params.views, params.seed),
    }
    for name, editor in alone.items():
        trials = run_protocol(editor, editor.prepare(root, *known), control, demands)
        expected = summarise(list(trials), with_already=False)
        assert found[name]["drawdown"]["mean"] == pytest.approx(expected.drawdown.mean)
        assert found[name]["success"]["mean"] == pytest.approx(expected.success.mean)


def test_tuning_prints_what_goes_into_params(here: Place) -> None:
    words = ["tune", "gd", "--scope", "head", "--trials", "4", "--edits", "6"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert "edit:\n  editor: gd\n  scope: head\n  rule:\n    learning_rate: " in said.stdout
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert f"learning_rate: {found['rule']['learning_rate']:.4g}" in said.stdout and found["tried"] == 4


@pytest.mark.parametrize(
    ("words", "named"),
    [(["tune", "sgd"], "no rule is called 'sgd'"), (["compare", "--editor", "sgd"], "no editor is called 'sgd'")],
)
def test_unknown_names_are_refused_with_those_that_are_known(here: Place, words: list[str], named: str) -> None:
    said = CliRunner().invoke(app, words)
    assert named in str(said.exception) and "rmsprop" in str(said.exception)


@pytest.mark.parametrize(("words", "package"), [(["tune", "gd"], "optuna"), (["compare"], "matplotlib")])
def test_what_is_not_installed_is_named_before_anything_is_read(
    words: list[str], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE, str(tmp_path))  # no root here: that would be the next complaint
    monkeypatch.setitem(sys.modules, package, None)
    said = CliRunner().invoke(app, words)
    assert isinstance(said.exception, NotInstalled)
    assert str(said.exception).startswith(f"{package} not installed; `pip install 'errata-models[studies]'`")
