"""The hearing on real editors: groups are tested by editing, slots are looked at alone, and company does not count."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from errata.data.datasets import LabelledImages
from errata.data.releases.ledger import Correction, Ledger
from errata.data.splits import save_splits
from errata.editing.features import Features
from errata.editing.model import EditableModel, fit_patch
from errata.editing.types import Constraint, EditResult
from errata.flows.deferral.attribution import _JointEdits, attribute
from errata.flows.deferral.find_harm import share_to_keep
from errata.flows.deferral.probes import Candidate, Probes
from errata.flows.gate.criterion import Name, criterion
from errata.flows.params import Params
from errata.flows.stages.editors import build_editor
from tests.editing.models import small_images, small_model
from tests.flows.gate.gate_rows import PARAMS

IMAGES = small_images(400, seed=3)


def params(editor: str) -> Params:
    found = Params()
    edit = found.edit.model_copy(update={"editor": editor, "scope": "head"})
    return found.model_copy(update={"edit": edit, "views": found.views.model_copy(update={"fitting": 3})})


def make_candidate(
    folder: Path, editor: str, expected: dict[str, tuple[int, int]]
) -> tuple[Candidate, Probes, EditResult]:
    """A root that is right by definition, edited so that `expected[name] = (image, class)`, and what it left."""
    expected = dict(sorted(expected.items()))  # the ledger's order
    root = small_model(slots=16)
    fit_patch(root, IMAGES[:200])
    labels = root(IMAGES).argmax(1).detach()
    save_splits(
        {
            name: LabelledImages(IMAGES[part].numpy(), labels[part].numpy(), root.spec.classes)
            for name, part in (("reference", slice(0, 100)), ("calibration", slice(100, 200)))
        },
        folder,
    )
    chosen = params(editor)
    tool = build_editor(chosen.edit, chosen.views, chosen.seed)
    constraints = [Constraint(IMAGES[index], wanted, name) for name, (index, wanted) in expected.items()]
    result = tool.edit(root, constraints, tool.prepare(root, IMAGES[:100], IMAGES[100:200]))
    candidate = Candidate(
        chosen,
        root,
        result.model,
        Ledger(2, tuple(Correction(name, str(wanted), ("r",)) for name, (_, wanted) in expected.items())),
        IMAGES[[index for index, _ in expected.values()]],
        torch.tensor([wanted for _, wanted in expected.values()]),
        dict(zip(expected, result.holds, strict=True)),
        result.reason,
        {slot.slot: slot.key for slot in result.slots if slot.separated},
        folder,
        folder,
    )
    probes = Probes(Features().of(root, IMAGES[200:]), labels[200:], IMAGES[200:])
    return candidate, probes, result


def turned(model: EditableModel, probes: Probes) -> int:
    assert probes.images is not None
    return int((model(probes.images).argmax(1) != probes.labels).sum())


def test_groups_are_tested_with_a_real_editor_and_exactly_the_harmful_are_left_out(tmp_path: Path) -> None:
    """Corrections that hold already, by far, change nothing; the surest images called another class move the head."""
    logits = small_model(slots=16)(IMAGES[:200]).detach()
    top = logits.sort(dim=1).values
    surest = (top[:, -1] - top[:, -2]).argsort(descending=True).tolist()
    labels = logits.argmax(1)
    expected = {f"good {index}": (index, int(labels[index])) for index in surest[2:9]}
    expected |= {f"a bad {index}": (index, int(logits[index].argmin())) for index in surest[:2]}
    candidate, probes, _ = make_candidate(tmp_path, "natural", expected)
    assert candidate.slots == {}
    for name in expected:  # each by itself does harm, or none
        _, _, alone = make_candidate(tmp_path / name, "natural", {name: expected[name]})
        assert (turned(alone.model, probes) > 0) == name.startswith("a bad"), name
    attribution = attribute(candidate, probes, expected, 0.0, by_reach=False)
    assert attribution.kept == {name for name in expected if name.startswith("good")}
    assert attribution.alone == {}
    assert attribute(candidate, probes, expected, 1.0, by_reach=False).kept == set(expected)


def test_a_slot_is_looked_at_alone(tmp_path: Path) -> None:
    labels = small_model(slots=16)(IMAGES).argmax(1)
    expected = {f"{index}": (index, int(labels[index] + 1) % 4) for index in range(20, 28)}
    candidate, probes, _ = make_candidate(tmp_path, "patch", expected)
    assert len(candidate.slots) >= 4
    attribution = attribute(candidate, probes, expected, 0.0, by_reach=False)
    for slot, name in candidate.slots.items():
        single = copy.deepcopy(candidate.root)
        for part in ("weight", "threshold", "value"):
            getattr(single.patch, part).data[slot] = getattr(candidate.edited.patch, part).data[slot]
        single.patch.centre.copy_(candidate.edited.patch.centre)
        single.patch.whitening.copy_(candidate.edited.patch.whitening)
        assert attribution.alone[name] == turned(single, probes)
    harmless = {name for name, count in attribution.alone.items() if count == 0 and candidate.holds[name]}
    assert harmless
    assert harmless <= attribution.kept


def test_groups_are_tried_with_all_who_do_no_harm_and_without_who_is_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = small_model(slots=16)(IMAGES).argmax(1)
    expected = {f"{index}": (index, int(labels[index] + 1) % 4) for index in range(20, 28)}
    candidate, probes, _ = make_candidate(tmp_path, "patch", expected)
    tried: list[set[str]] = []
    joint = _JointEdits.joint

    def record(court: _JointEdits, names: Sequence[str]) -> tuple[float, int]:
        tried.append(set(names))
        return joint(court, names)

    monkeypatch.setattr(_JointEdits, "joint", record)
    suspects = set(expected) - {"22"}
    attribution = attribute(candidate, probes, suspects, 0.5, by_reach=False, without=["22"])
    harmless = {name for name, count in attribution.alone.items() if count == 0 and candidate.holds[name]}
    assert harmless
    assert harmless <= attribution.kept <= suspects
    groups = [names for names in tried if len(names) > 1]
    assert groups
    assert all(harmless <= names <= suspects for names in groups)


def test_the_limit_is_approached_in_equal_steps_and_the_last_takes_no_harm() -> None:
    far = [criterion(Name.DRAWDOWN, 0.3, PARAMS.drawdown * 27, 1000, PARAMS)]
    assert share_to_keep(far, 4) == pytest.approx(0.7 / 3)
    assert share_to_keep(far, 2) == pytest.approx(0.7 / 27)
    assert share_to_keep(far, 1) == share_to_keep(far, 0) == 0.0
    near = [*far, criterion(Name.REACH, 0.0, 0.0, 1000, PARAMS)]
    assert share_to_keep(near, 4) == share_to_keep(far, 4)
    assert share_to_keep([criterion(Name.REACH, 0.1, float("nan"), 1000, PARAMS)], 4) == 0.0
    error = [criterion(Name.ACCURACY, 0.7, 1 - (1 - PARAMS.accuracy) * 8, 1000, PARAMS)]
    assert share_to_keep(error, 4) == pytest.approx(0.35)
