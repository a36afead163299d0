"""What a claim would change in the day's requests, held against the edited network on the images themselves."""

import torch

from errata.data.splits import load_split
from errata.editing.model import EditableModel, load_model
from errata.editing.tensors import tensor_of
from errata.editing.types import Constraint
from errata.flows.cli.review.effect import NO_SLOTS, NO_TRAFFIC, OTHER_ROOT, TrafficEffect
from errata.flows.cli.review.live import Desk
from errata.flows.stages.editors import build_editor, calibrating_traffic
from tests.flows.conftest import Place, set_params


def classes(model: EditableModel, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(images).argmax(1)
    return found


def test_a_claim_is_told_with_the_requests_that_its_slot_alone_changes(place: Place) -> None:
    report = place.report_mistakes(1)[0]
    workspace, params = place.workspace, place.workspace.params
    model = Desk(place.storage).model()
    looked = model.look(report.image)
    said = TrafficEffect(workspace, place.storage)(looked, report.expected)

    root = load_model(workspace.root).eval()
    splits = [tensor_of(load_split(workspace.splits, name).images) for name in ("reference", "calibration", "traffic")]
    editor = build_editor(params.edit, params.views, params.seed, traffic=calibrating_traffic(workspace.splits))
    constraint = Constraint(torch.tensor(looked.pixels), model.classes.index(report.expected), "alone")
    edited = editor.edit(root, [constraint], editor.prepare(root, *splits[:2]))
    changed = int((classes(root, splits[2]) != classes(edited.model, splits[2])).sum())
    assert not edited.deferred
    assert changed >= 1  # the reported image is one of the day's
    assert said.startswith(f"By itself it changes {changed} of {len(splits[2]):,} requests")

    (workspace.root / "more.txt").write_text("another root")
    assert TrafficEffect(workspace, place.storage)(looked, report.expected) == OTHER_ROOT
    set_params(workspace.folder, "edit", editor="natural")
    assert TrafficEffect(place.workspace, place.storage)(looked, report.expected) == NO_SLOTS
    (workspace.splits / "traffic.npz").unlink()
    assert TrafficEffect(workspace, place.storage)(looked, report.expected) == NO_TRAFFIC
