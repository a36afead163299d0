"""The stage `edit`: the root edited until every correction in the ledger holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from errata.data.releases.edit_record import EditRecord, KindRecord, SlotRecord
from errata.data.releases.kind_inputs import load_inputs
from errata.data.releases.ledger import read_ledger
from errata.data.splits import load_split
from errata.editing.model import EditableModel, load_model, save_model
from errata.editing.tensors import tensor_of
from errata.editing.types import Constraint
from errata.flows.params import Params
from errata.flows.stages.common import device, open_features
from errata.flows.stages.editors import build_editor, calibrating_traffic, learned_rule
from errata.flows.stages.kinds import Evidence, labelled_images, use_kinds
from errata.flows.workspace import Workspace


def edit(workspace: Workspace, params: Params) -> None:
    """Solve the whole ledger from the root."""
    root = load_model(workspace.root)
    ledger, images = read_ledger(workspace.ledger, root.spec.image_shape)
    classes = {name: index for index, name in enumerate(root.spec.classes)}
    constraints = [
        Constraint(torch.from_numpy(image), classes[correction.expected], correction.id)
        for image, correction in zip(images, ledger.corrections, strict=True)
    ]
    record = EditRecord(success=True, steps=0, reason="", holds={})
    model = root
    if constraints:
        features = open_features(workspace, root, "edit")
        learned, traffic = learned_rule(workspace.root), calibrating_traffic(workspace.splits)
        editor = build_editor(params.edit, params.views, params.seed, learned, features, traffic)
        reference, calibration = (
            tensor_of(load_split(workspace.splits, name).images) for name in ("reference", "calibration")
        )
        root.to(device())
        based, kinds, why = root, tuple[KindRecord, ...](), kinds_reason(params)
        if not why:
            based, kinds = use_kinds(
                root, evidence(workspace, constraints, root), reference, calibration, params, features
            )
        result = editor.edit(based, constraints, editor.prepare(root, reference, calibration))
        model = result.model.to("cpu")
        record = EditRecord(
            success=result.success,
            steps=result.steps,
            reason=result.reason,
            holds={each.key: held for each, held in zip(constraints, result.holds, strict=True)},
            slots=tuple(SlotRecord(**asdict(slot)) for slot in result.slots),
            kinds=kinds,
            kinds_reason=why,
            deferred={constraints[row].key: unheld.value for row, unheld in result.deferred.items()},
        )
    save_model(model, workspace.candidate)
    (workspace.candidate / "edit.json").write_bytes(record.to_json())


def kinds_reason(params: Params) -> str:
    """Why no kinds are looked for; empty if they are."""
    if not params.edit.kinds:
        return "edit.kinds is false"
    return (
        "" if params.edit.editor == "patch" else f"{params.edit.editor} changes shared weights; slots and kinds do not"
    )


def evidence(workspace: Workspace, constraints: Sequence[Constraint], root: EditableModel) -> Evidence:
    """What kinds are made of and judged by."""
    inputs = load_inputs(workspace.ledger)
    classes = {name: index for index, name in enumerate(root.spec.classes)}
    corrected = frozenset(each.key for each in constraints)
    images, labels = labelled_images(workspace, inputs.labelled, corrected, root.spec.image_shape, classes)
    traffic = None
    if (workspace.splits / "traffic.npz").is_file():
        traffic = tensor_of(load_split(workspace.splits, "traffic").images)
    known = corrected | {each.id for each in inputs.labelled.corrections}
    return Evidence(constraints, torch.from_numpy(images), labels, inputs.decisions, traffic, known)
