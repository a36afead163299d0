"""Which kinds the stage `edit` uses: those that prove themselves, and that no person dissolved."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from errata.data.releases.edit_record import KindRecord
from errata.data.releases.kind_inputs import KindDecision
from errata.editing.constraints import violation
from errata.editing.model import EditableModel
from errata.editing.settings import KindSettings, ViewSettings
from errata.flows.params import EditParams, Params
from errata.flows.stages.kinds import Evidence, use_kinds
from tests.editing.kinds.pale import CALIBRATION, FINDER, REFERENCE, classes, mistakes, pale_images
from tests.editing.models import small_images, small_model

PARAMS = Params(edit=EditParams(kind=KindSettings(steps=15, batch=32)), views=ViewSettings(fitting=5))


@cache
def labelled() -> Evidence:
    images, labels = pale_images(150, seed=50)
    return Evidence(mistakes(), images, labels.numpy())


@cache
def used() -> tuple[EditableModel, KindRecord]:
    model, (record,) = use_kinds(small_model(), labelled(), REFERENCE, CALIBRATION, PARAMS)
    return model, record


def same_weights(one: EditableModel, other: EditableModel) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_kind_that_proves_itself_is_used_and_its_numbers_are_true() -> None:
    model, record = used()
    assert (record.kind, record.why) == (0, "")
    by_key = {each.key: each for each in mistakes()}
    assert set(record.held_out) == {key for key in by_key if FINDER.held_out(key)}  # it fires on every pale image
    with torch.no_grad():
        held = [
            violation(model(by_key[key].image[None]), torch.tensor([by_key[key].expected])) for key in record.held_out
        ]
    assert record.mended == sum(bool(each <= 0) for each in held)
    images, labels = pale_images(150, seed=50)
    before, after = (float((classes(each, images) != labels).double().mean()) for each in (small_model(), model))
    assert record.labelled == 150 and np.isclose(record.increase, after - before) and after < before


def test_without_labelled_images_it_is_left_out_and_its_corrections_are_pictures() -> None:
    evidence = replace(labelled(), images=labelled().images[:0], labels=labelled().labels[:0])
    model, (record,) = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, PARAMS)
    assert record.kind == -1 and "no labelled image" in record.why
    assert model.kinds is None and same_weights(model, small_model())


def test_labelled_images_that_get_worse_are_told() -> None:
    labels = classes(small_model(), labelled().images).numpy()  # the root is right of all of them
    model, (record,) = use_kinds(small_model(), replace(labelled(), labels=labels), REFERENCE, CALIBRATION, PARAMS)
    assert model.kinds is None and record.increase > 0 and "150 labelled images" in record.why


def test_one_that_mends_nothing_else_is_left_out() -> None:
    wrong = [
        replace(each, expected=(each.expected + 1) % 4) if FINDER.held_out(each.key) else each for each in mistakes()
    ]
    model, (record,) = use_kinds(small_model(), replace(labelled(), constraints=wrong), REFERENCE, CALIBRATION, PARAMS)
    assert model.kinds is None and "held-out corrections" in record.why


def test_dissolved_it_never_was_and_restored_it_is_back() -> None:
    model, record = used()
    members = tuple(sorted(record.corrections))[:30]  # those that it had when there were fewer
    decisions = (KindDecision("named", members, "pale"), KindDecision("dissolved", members))
    evidence = replace(labelled(), decisions=decisions)
    without, (dissolved,) = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, PARAMS)
    assert (dissolved.kind, dissolved.name, dissolved.why) == (-1, "pale", "a person dissolved it")
    assert without.kinds is None and same_weights(without, small_model())
    evidence = replace(evidence, decisions=(*decisions, KindDecision("restored", members)))
    again, (restored,) = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, PARAMS)
    assert same_weights(again, model) and restored == replace(record, name="pale")


def test_a_decision_about_other_corrections_is_none_about_this_kind() -> None:
    decision = KindDecision("dissolved", ("someone else", "and another", *sorted(used()[1].corrections)[:1]))
    assert decision.about(frozenset("a"), frozenset({"someone else"})) is False
    in_force = frozenset(each.key for each in mistakes()) | {"someone else", "and another"}
    assert not decision.about(used()[1].corrections, in_force)
    assert decision.about(used()[1].corrections, used()[1].corrections)  # the others are not in force any more
    assert not KindDecision("dissolved", ("gone",)).about(used()[1].corrections, in_force)


def test_ordinary_mistakes_are_no_kind_that_is_used() -> None:
    ordinary = [replace(each, image=image) for each, image in zip(mistakes(), small_images(200, seed=51), strict=False)]
    evidence = replace(labelled(), constraints=ordinary)
    model, records = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, PARAMS)
    assert model.kinds is None and all(each.why for each in records)
