"""dvc.yaml names exactly the parameters that each stage reads; the shipped bytes know nothing of the gate's limits."""

from typing import Any, cast

import pytest
import yaml

from errata.flows.night.run import run_night
from errata.flows.params import Params
from errata.flows.releases.pipeline import INSTALLED
from errata.flows.stages.edit import edit
from errata.flows.stages.evaluate import evaluate
from errata.flows.stages.export import export
from errata.flows.stages.prepare import prepare
from errata.flows.stages.train import train_root
from errata.flows.workspace import Workspace
from tests.flows.conftest import REPOSITORY, Place


class Recorded:
    """Parameters that remember which of the file's sections were read."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.read.add(name)
        return getattr(self.params, name)


@pytest.mark.slow
def test_each_stage_reads_what_dvc_yaml_says(quick: Place) -> None:
    quick.report_mistakes(1)
    assert run_night(quick.night()).outcome == "released"
    declared = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    workspace = quick.workspace
    short = workspace.params.train.model_copy(update={"epochs": 1, "editable_epochs": 1})
    params = workspace.params.model_copy(update={"train": short})
    read: dict[str, set[str]] = {"export": set()}  # it takes no parameters
    export(workspace)
    for name, stage in (("prepare", prepare), ("edit", edit), ("evaluate", evaluate), ("train", train_root)):
        recorded = Recorded(params)
        stage(workspace, cast(Params, recorded))
        read[name] = recorded.read
    assert read == {name: set(stage.get("params", [])) for name, stage in declared.items()}


def test_the_installed_pipeline_is_the_repositorys() -> None:
    assert INSTALLED.read_bytes() == (REPOSITORY / "dvc.yaml").read_bytes()


def test_other_limits_ship_the_same_bytes(quick: Place) -> None:
    quick.report_mistakes(1)
    assert run_night(quick.night()).outcome == "released"
    file = quick.workspace.onnx / "model.onnx"
    before = file.read_bytes()
    path = quick.workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace("  drawdown: 0.05", "  drawdown: 0.5").replace("reach: 0.3", "reach: 0.9"))
    workspace = Workspace(quick.workspace.folder)
    assert workspace.params.gate.drawdown == 0.5 and workspace.params.gate.reach == 0.9
    export(workspace)
    assert file.read_bytes() == before
    assert b"drawdown" not in before
