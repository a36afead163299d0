"""Corrections that no slot can hold: deferred, told, tried again; and a night is not held up by them."""

import re

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from errata.data.images import encode_png, pixel_digest
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.kind_inputs import KindDecision, decide_kind
from errata.data.releases.ledger import load_ledger
from errata.data.reports import make_report, put_report
from errata.data.splits import load_split
from errata.editing.model import load_model
from errata.editing.onnx.export import OnnxClassifier
from errata.editing.types import Constraint, Unheld
from errata.flows.cli.app import app
from errata.flows.gate.criterion import Name
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.night.run import run_night
from errata.flows.releases.lineage import trace
from errata.flows.stages.editors import build_editor, calibrating_traffic
from tests.flows.conftest import Place


def set_edit(place: Place, **settings: object) -> None:
    path = place.workspace.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["edit"] = {**(params.get("edit") or {}), **settings}
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def deferred_with(place: Place, indexes: list[int]) -> set[int]:
    """Which of these traffic images, corrected together, no slot can tell from control images."""
    params, splits = place.workspace.params, place.workspace.splits
    traffic = load_split(splits, "traffic")
    root = load_model(place.workspace.root)
    editor = build_editor(params.edit, params.views, params.seed, traffic=calibrating_traffic(splits))
    control = (torch.from_numpy(load_split(splits, name).images) for name in ("reference", "calibration"))
    constraints = [
        Constraint(torch.from_numpy(traffic.images[index]), int(traffic.labels[index]), str(index)) for index in indexes
    ]
    result = editor.edit(root, constraints, editor.prepare(root, *control))
    return {indexes[row] for row, why in result.deferred.items() if why == Unheld.NOT_APART}


def report_traffic(place: Place, indexes: list[int]) -> set[str]:
    """Report these traffic images, whose corrections' names are returned."""
    traffic = load_split(place.workspace.splits, "traffic")
    for index in indexes:
        content = encode_png(traffic.images[index])
        put_report(place.storage, make_report(content, traffic.classes[traffic.labels[index]], reporter="r"), content)
    return {pixel_digest(traffic.images[index]) for index in indexes}


@pytest.mark.slow
def test_what_only_the_head_could_hold_is_deferred_and_the_night_releases(
    quick: Place, _unsolvable: frozenset[int]
) -> None:
    traffic = load_split(quick.workspace.splits, "traffic")
    root = OnnxClassifier(quick.workspace.root / "root.onnx")
    wrong = np.flatnonzero(root.predict(traffic.images).logits.argmax(1) != traffic.labels)
    easy = [int(each) for each in wrong if each not in _unsolvable][:2]
    hard = [index for index in sorted(_unsolvable) if deferred_with(quick, [index, *easy]) == {index}][:1]
    assert hard and easy
    set_edit(quick, fallback="head", kinds=False)
    (stuck,), held = report_traffic(quick, hard), report_traffic(quick, easy)
    first = run_night(quick.night())
    assert (first.outcome, first.in_force, first.without_slot) == ("released", 3, {}), first.sentence
    assert not torch.equal(
        load_model(quick.workspace.candidate).head.weight, load_model(quick.workspace.root).head.weight
    )

    # somebody dissolves a kind: a night without reports, whose editor may not move the head
    set_edit(quick, fallback="defer", kinds=False)
    decide_kind(quick.storage, KindDecision("dissolved", (stuck,)), by="ann", why="another camera", at="2026")
    second = run_night(quick.night())
    assert (second.outcome, second.version, second.in_force) == ("released", 3, 2), second.sentence
    assert list(second.without_slot) == [stuck] and "control images" in second.without_slot[stuck]
    record = EditRecord.from_json(quick.workspace.read(quick.workspace.candidate / "edit.json"))
    assert record.deferred == {stuck: "not apart"} and not record.holds[stuck]
    assert torch.equal(load_model(quick.workspace.candidate).head.weight, load_model(quick.workspace.root).head.weight)
    rows = GateMeasurements.from_json(quick.workspace.read(quick.workspace.gate)).criteria
    assert (rows[Name.CORRECTIONS_HOLD].n, rows[Name.CORRECTIONS_HOLD].value) == (2, 1.0)
    assert dict(second.lines())["outcome"] == "released: 2 of 3 corrections hold"
    said = [CliRunner().invoke(app, [word, "--store", quick.storage.url]).output for word in ("status", "show")]
    assert re.search(r"in its ledger +│ 3 .*of which it holds +│ 2 ", said[0], re.DOTALL), said[0]
    assert "Corrections in force: 2 of 3 hold" in said[1]
    traced = {each.correction.id: each for each in trace(quick.storage).corrections}
    assert traced[stuck].deferred and not traced[stuck].holds and all(traced[each].holds for each in held)

    # it stays in the ledger, and the next release tries again
    set_edit(quick, fallback="head", kinds=False)
    decide_kind(quick.storage, KindDecision("restored", (stuck,)), by="ann", why="the same camera", at="2026")
    third = run_night(quick.night())
    assert (third.outcome, third.in_force, third.without_slot) == ("released", 3, {}), third.sentence
    assert stuck in {each.id for each in load_ledger(quick.workspace.ledger).corrections}
