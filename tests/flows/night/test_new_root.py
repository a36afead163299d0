"""A new root learns the corrections in force; what it does not learn stays in the ledger, and all of it holds."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from errata.data.datasets import LabelledImages
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import read_live, read_manifest, read_model
from errata.data.releases.replay import NONE, replay_of, with_replay
from errata.data.splits import load_split
from errata.editing.errors import DataError
from errata.editing.model import load_model, save_model
from errata.editing.onnx.export import OnnxClassifier, export_onnx
from errata.flows.gate.criterion import Criterion, GateResult
from errata.flows.night.budget import budget_notice
from errata.flows.night.new_root import Inherited, train_new_root
from errata.flows.night.run import run_night
from errata.flows.night.state import Night
from errata.flows.night.step import Step
from errata.flows.releases.pointer import log_entries
from errata.flows.releases.retraction import retract
from errata.flows.stages import train as train_stage
from errata.flows.stages.root_training import RootTraining
from errata.flows.stages.train import train_root
from errata.flows.workspace import Workspace
from tests.flows.conftest import Place


@pytest.fixture
def corrected(quick: Place) -> Place:
    """A place with two corrections in force."""
    quick.report_mistakes(2)
    assert run_night(quick.night()).version == 2
    return quick


def ledger_of(place: Place) -> set[str]:
    """The corrections that the workspace solves for."""
    text = (place.workspace.ledger / "ledger.jsonl").read_text()
    return {each.id for each in Ledger.from_jsonl(text).corrections}


def training(monkeypatch: pytest.MonkeyPatch, train: Callable[[Workspace], None]) -> None:
    """Let `train` stand for what the train stage does."""
    dvc = Workspace.dvc

    def with_training(workspace: Workspace, *words: str, **named: Any) -> None:
        train(workspace) if words == ("repro", "train") else dvc(workspace, *words, **named)

    monkeypatch.setattr(Workspace, "dvc", with_training)


def learn_everything(workspace: Workspace) -> None:
    """A root that gets right what the last release got right: that release itself."""
    for name in ("model.safetensors", "model.json"):
        shutil.copy(workspace.candidate / name, workspace.root / name)
    shutil.copy(workspace.onnx / "model.onnx", workspace.root / "root.onnx")


def test_what_the_new_root_did_not_learn_stays_in_the_ledger(corrected: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger_of(corrected)
    seen: list[set[str]] = []
    training(monkeypatch, lambda workspace: seen.append(replayed(workspace)))  # the root stays as it was
    summary = train_new_root(corrected.night())
    assert (summary.outcome, summary.version, summary.in_force) == ("released", 3, 2)
    assert seen == [before]  # what it could have learned
    assert ledger_of(corrected) == before
    assert summary.gate_result is not None
    rows = {each.name: each for each in summary.gate_result.criteria}
    assert (rows["old_corrections"].value, rows["old_corrections"].n) == (1.0, 2)
    assert replay_of(corrected.storage, read_manifest(corrected.storage, 3)).corrections
    assert run_night(corrected.night()).outcome == "nothing to correct"


def replayed(workspace: Workspace) -> set[str]:
    """The corrections that a root is taught."""
    text = (workspace.replay / "ledger.jsonl").read_text()
    return {each.id for each in Ledger.from_jsonl(text).corrections}


def test_what_the_new_root_learned_leaves_the_ledger_but_not_the_replay_set(
    corrected: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ledger_of(corrected)
    training(monkeypatch, learn_everything)
    summary = train_new_root(corrected.night())
    assert (summary.outcome, summary.version, summary.in_force) == ("released", 3, 0)
    assert ledger_of(corrected) == set()
    assert replayed(corrected.workspace) == before
    manifest = read_manifest(corrected.storage, 3)
    assert (manifest.kind, manifest.corrections) == ("root", 0)
    assert {each.id for each in replay_of(corrected.storage, manifest).corrections} == before


def test_an_old_correction_that_breaks_again_stops_the_new_root(
    corrected: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(_night: Night, inherited: Inherited) -> Ledger:
        return inherited.ledger.without(inherited.ledger.version, [inherited.ledger.corrections[0].id])

    def run_step(step: Step[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        return forget(*args) if step.name == "old ledger" else step(*args, **kwargs)

    training(monkeypatch, lambda _workspace: None)
    summary = train_new_root(corrected.night(), run_step)
    assert (summary.outcome, summary.version) == ("not released", 2)
    assert "fails old corrections" in summary.sentence
    found = read_live(corrected.storage)
    assert found is not None
    assert found[0].version == 2


def test_a_retracted_correction_is_not_taught(corrected: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ledger_of(corrected)
    retract(corrected.storage, min(before), by="me", why="a wrong label")
    training(monkeypatch, lambda _workspace: None)
    assert train_new_root(corrected.night()).outcome == "released"
    assert replayed(corrected.workspace) == ledger_of(corrected) == before - {min(before)}


def test_the_train_stage_sees_the_train_split_and_the_replay_set(
    corrected: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = corrected.workspace
    split = load_split(workspace.splits, "train")
    taught: list[LabelledImages] = []

    def train_anew(
        _workspace: object, _params: object, _model: object, images: LabelledImages, _processes: object
    ) -> RootTraining:
        taught.append(images)
        return RootTraining((), {})

    monkeypatch.setattr(train_stage, "train_anew", train_anew)
    monkeypatch.setattr(train_stage, "export_onnx", lambda *_: None)
    assert len(with_replay(workspace.replay, split).images) == len(split.images)  # a first root is taught nothing else
    shutil.rmtree(workspace.replay)
    shutil.copytree(workspace.ledger, workspace.replay)
    train_root(workspace, workspace.params)
    ledger = Ledger.from_jsonl((workspace.replay / "ledger.jsonl").read_text())
    np.testing.assert_array_equal(taught[0].images[: len(split.images)], split.images)
    assert [split.classes[label] for label in taught[0].labels[len(split.labels) :]] == [
        each.expected for each in ledger.corrections
    ]
    foreign = Ledger(0, (Correction(ledger.corrections[0].id, "a zebra"),))
    (workspace.replay / "ledger.jsonl").write_text(foreign.to_jsonl())
    with pytest.raises(DataError, match="a zebra"):
        with_replay(workspace.replay, split)


def test_a_ledger_near_its_budget_is_told_of() -> None:
    def judged(drawdown: float) -> GateResult:
        return GateResult("edit", (Criterion("drawdown", drawdown, 0.03, 0.02, "at most", 100),))

    assert budget_notice(79, 100, judged(0.0159)) == ""
    assert "80 corrections" in budget_notice(80, 100, None)
    told = budget_notice(1, 100, judged(0.016))
    assert "1.60%" in told
    assert "errata train" in told


def test_the_night_tells_of_the_budget(quick: Place) -> None:
    params = quick.workspace.folder / "params.yaml"
    params.write_text(params.read_text().replace("slots: 256", "slots: 2"))
    heard: list[str] = []
    quick.report_mistakes(2)
    summary = run_night(quick.night(heard.append))
    assert "2 corrections, the root has 2 slots" in summary.budget
    assert summary.budget in heard
    assert json.loads(json.dumps(summary.to_json()))["budget"] == summary.budget
    assert NONE.corrections == ()


def worse(workspace: Workspace) -> None:
    """A root that calls every image of one class another: its head's rows of the two are the same, but for a bit."""
    model = load_model(workspace.root)
    with torch.no_grad():
        weight, bias = model.head.weight, model.head.bias
        weight[3], bias[3] = weight[5], bias[5] - 1.0
    save_model(model, workspace.root)
    export_onnx(model, workspace.root / "root.onnx", {})


def test_a_worse_root_does_not_replace_what_is_live(quick: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.report_mistakes(1)  # a correction in force, so that the stand-in for training is called
    assert run_night(quick.night()).version == 2
    training(monkeypatch, worse)
    summary = train_new_root(quick.night())
    assert (summary.outcome, summary.version) == ("not released", 2)
    assert summary.gate_result is not None
    rows = {each.name: each for each in summary.gate_result.criteria}
    live = OnnxClassifier(read_model(quick.storage, read_manifest(quick.storage, 2)))
    gate = load_split(quick.workspace.splits, "gate")
    was = live.predict(gate.images).logits.argmax(1) != gate.labels
    is_now = OnnxClassifier(quick.workspace.onnx / "model.onnx").predict(gate.images).logits.argmax(1) != gate.labels
    assert rows["drawdown_live"].value == pytest.approx(is_now.mean() - was.mean())
    assert rows["negative_flips_live"].value == pytest.approx((is_now & ~was).mean())
    assert rows["recall_drop_live"].verdict == "fail"
    assert "the candidate fails drawdown live, " in summary.sentence


@pytest.mark.slow
def test_a_reason_does_not_help_a_root_that_is_too_inaccurate_by_itself(
    quick: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.report_mistakes(1)
    assert run_night(quick.night()).version == 2
    training(monkeypatch, worse)
    params = quick.workspace.folder / "params.yaml"
    params.write_text(params.read_text().replace("accuracy: 0.85", "accuracy: 0.95"))
    assert train_new_root(quick.night(), replace_live="the camera is another now").outcome == "not released"


@pytest.mark.slow
def test_a_person_may_let_a_worse_root_pass_with_a_reason_that_the_log_keeps(
    quick: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.report_mistakes(1)
    assert run_night(quick.night()).version == 2
    training(monkeypatch, lambda _workspace: None)
    params = quick.workspace.folder / "params.yaml"
    params.write_text(params.read_text().replace("root_negative_flips: 0.06", "root_negative_flips: 0.0001"))
    assert train_new_root(quick.night()).outcome == "not released"
    summary = train_new_root(quick.night(), replace_live="the camera is another now")
    assert (summary.outcome, summary.version) == ("released", 3)
    why = log_entries(quick.storage)[-1].why
    assert "inconclusive on negative flips live" in why
    assert "the camera is another now" in why
