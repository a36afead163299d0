"""The stage `edit`: the root edited until every correction in the ledger holds."""

from __future__ import annotations

from dataclasses import asdict

import torch

from data.releases.edit_record import EditRecord, SlotRecord
from data.releases.ledger import read_ledger
from data.splits import load_split
from editing.model import load_model, save_model
from editing.types import Constraint
from flows.params import Params
from flows.stages.common import device, open_features
from flows.stages.editors import build_editor, learned_rule
from flows.workspace import Workspace


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
        features = open_features(workspace, root)
        editor = build_editor(params.edit, params.views, params.seed, learned_rule(workspace.root), features)
        control = {
            name: torch.from_numpy(load_split(workspace.splits, name).images) for name in ("reference", "calibration")
        }
        root.to(device())
        result = editor.edit(root, constraints, editor.prepare(root, control["reference"], control["calibration"]))
        model = result.model.to("cpu")
        record = EditRecord(
            success=result.success,
            steps=result.steps,
            reason=result.reason,
            holds={each.key: held for each, held in zip(constraints, result.holds, strict=True)},
            slots=tuple(SlotRecord(**asdict(slot)) for slot in result.slots),
        )
    save_model(model, workspace.candidate)
    (workspace.candidate / "edit.json").write_bytes(record.to_json())
