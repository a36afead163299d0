"""The gate's step of a night: read what DVC measured, measure the rest, hold all of it against params.yaml's limits.

The look is counted in the store first, so that no verdict is known of a look that is not. A night counts it before it
measures: here it is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from errata.data.images import pixel_digest
from errata.data.releases.looks import Looks
from errata.data.releases.manifest import sha256
from errata.data.splits import SplitEntry, load_split, read_record, splits_digest
from errata.editing.errors import Damaged
from errata.editing.onnx.classifier import KIND
from errata.editing.onnx.export import OnnxClassifier
from errata.editing.onnx.file import parse_onnx
from errata.editing.onnx.shortcut import Classifier
from errata.flows.gate.criterion import AGAINST_LIVE, KINDS, Criterion, GateResult, Name, limit_of, not_computed
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.gate.measures import drawdown_live, root_against_live
from errata.flows.gate.paired import classes_of
from errata.flows.gate.spending import confidence_at, share_spent
from errata.flows.params import GateParams
from errata.flows.workspace import Workspace

OpenFile = Callable[[Path | bytes], Classifier]


@dataclass(frozen=True)
class LiveModel:
    """The live release: the bytes of its model, its classes, and the digest of the control set that judged it.

    `learned`: the splits that it was made from; None if its bundle is older than that record.
    """

    model: bytes = field(repr=False)
    classes: tuple[str, ...]
    splits: str
    learned: Mapping[str, SplitEntry] | None = None


def count_look(workspace: Workspace, looks: Looks) -> int:
    """Count that the workspace's candidate is looked at on its gate split; which look it is, the same each time."""
    gate = [pixel_digest(image) for image in load_split(workspace.splits, "gate").images]
    model = sha256((workspace.onnx / "model.onnx").read_bytes())
    return looks.count(read_record(workspace.splits).splits["gate"].sha256, gate, model)


def judge_candidate(
    workspace: Workspace,
    live: LiveModel | None,
    looks: Looks,
    *,
    new_root: bool = False,
    open_file: OpenFile = OnnxClassifier,
) -> GateResult:
    """The gate's answer on the workspace's candidate, and on it against `live` where there is one: one of the `looks`.

    `new_root`: the candidate has another root than `live`, so it must prove more against it. `open_file` gives what
    predicts as a file does; the file itself goes through the network with every gate image.

    Raises Damaged if metrics/gate.json was not measured on what the workspace holds now.
    """
    measured = GateMeasurements.from_json(workspace.read(workspace.gate))
    now = (splits_digest(workspace.splits), sha256((workspace.onnx / "model.onnx").read_bytes()))
    if (measured.splits, measured.model) != now:
        raise Damaged(f"{workspace.gate} was measured on another model or control set; run `dvc repro` again")
    look = count_look(workspace, looks)
    params = workspace.params.gate
    confidence = confidence_at(look, params)
    criteria = tuple(against_params(each, params) for each in measured.rows)
    criteria += unmeasured_kinds(workspace, criteria, params)
    if live is not None:
        criteria += against_live(workspace, live, params, new_root, open_file)
    criteria = tuple(each.at(confidence) for each in criteria)
    return GateResult(measured.kind, criteria, confidence, look, share_spent(look, params))


def against_params(row: Criterion, params: GateParams) -> Criterion:
    """A row that was read, with the limit that params.yaml sets: to loosen a limit in the file changes nothing.

    Raises Damaged on a criterion that there is not.
    """
    try:
        limit = limit_of(Name(row.name), params)
    except ValueError as fault:
        raise Damaged(f"metrics/gate.json has a criterion {row.name!r}, which there is not; run `dvc repro`") from fault
    return replace(row, limit=limit.value, direction=limit.direction)


def unmeasured_kinds(
    workspace: Workspace, criteria: tuple[Criterion, ...], params: GateParams
) -> tuple[Criterion, ...]:
    """Rows about kinds that a model with kinds has and that were not measured: never a pass."""
    if KIND not in {each.name for each in parse_onnx(workspace.onnx / "model.onnx").graph.output}:
        return ()
    measured = {each.name for each in criteria if each.verdict != "not applicable"}
    rest = KINDS - measured
    return tuple(not_computed(name, params) for name in sorted(rest))


def against_live(
    workspace: Workspace, live: LiveModel, params: GateParams, new_root: bool, open_file: OpenFile = OnnxClassifier
) -> tuple[Criterion, ...]:
    """The candidate against the live release: measured here, for DVC's function knows no parent.

    An edit whose live release was made from other splits cannot be compared: it may have learned what is now in the
    gate split. Its row is not computed, never a pass. (A gate split of new images it cannot have learned.) A new root
    is held against the live release on today's control set, also if the live one's was another: what the live model had
    seen of it only makes the comparison harder for the new root. Both must have the same classes.
    """
    gate, candidate = load_split(workspace.splits, "gate"), workspace.onnx / "model.onnx"
    if new_root:
        shapes = [OnnxClassifier(each).image_shape for each in (live.model, candidate)]
        if shapes[0] != shapes[1] or live.classes != gate.classes:
            return tuple(not_computed(name, params) for name in sorted(AGAINST_LIVE))
    elif live.splits != splits_digest(workspace.splits) and live.learned != read_record(workspace.splits).learned:
        return (not_computed(Name.DRAWDOWN_LIVE, params),)
    was, now = (classes_of(open_file(each), gate.images) for each in (live.model, candidate))
    if new_root:
        return root_against_live(gate.labels, was, now, len(gate.classes), params)
    return (drawdown_live(gate.labels, was, now, params),)
