"""The gate's step of a night: read what DVC measured, measure the rest, hold all of it against the limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from data.manifest import sha256
from data.splits import load_split, splits_digest
from editing.errors import Damaged
from editing.export import OnnxClassifier
from editing.metrics import predicted_classes
from flows.gate.criterion import Criterion, GateResult, Name, from_rows, not_computed
from flows.gate.expectations import check_expectations
from flows.gate.measures import drawdown_live
from flows.params import GateParams
from flows.workspace import Workspace


@dataclass(frozen=True)
class LiveModel:
    """The live release: the bytes of its model, and the digest of the control set that judged it."""

    model: bytes = field(repr=False)
    splits: str


def judge_candidate(workspace: Workspace, live: LiveModel | None) -> GateResult:
    """The gate's answer on the workspace's candidate, and on it against `live` where there is one.

    Raises Damaged if metrics/gate.json was not measured on what the workspace holds now.
    """
    measured = workspace.read_json(workspace.gate)
    now = (splits_digest(workspace.splits), sha256((workspace.onnx / "model.onnx").read_bytes()))
    if (measured["splits"], measured["model"]) != now:
        raise Damaged(f"{workspace.gate} was measured on another model or control set; run `dvc repro` again")
    params = workspace.params.gate
    criteria = from_rows(measured["criteria"])
    if live is not None:
        criteria += (against_live(workspace, live, params),)
    declared = check_expectations(measured["kind"], criteria, params)
    return GateResult(measured["kind"], criteria, declared.objections)


def against_live(workspace: Workspace, live: LiveModel, params: GateParams) -> Criterion:
    """The candidate's drawdown against the live release: measured here, for DVC's function knows no parent.

    A live release that was judged on another control set cannot be compared: its row is not computed, never a pass.
    """
    if live.splits != splits_digest(workspace.splits):
        return not_computed(Name.DRAWDOWN_LIVE, params)
    gate = load_split(workspace.splits, "gate")
    before, after = (
        predicted_classes(OnnxClassifier(file).predict(gate.images).logits)
        for file in (live.model, workspace.onnx / "model.onnx")
    )
    return drawdown_live(gate.labels, before, after, params)
