"""Which kinds the stage `edit` uses: those that prove themselves, and that no person dissolved."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from errata.data.images import pixel_digest
from errata.data.releases.edit_record import KindRecord
from errata.data.releases.kind_inputs import KindDecision
from errata.editing.constraints.classification import violation
from errata.editing.model import EditableModel
from errata.editing.settings import KindSettings, ViewSettings
from errata.flows.params import EditParams, Params
from errata.flows.stages.kinds import Evidence, use_kinds
from tests.editing.kinds import concept
from tests.editing.kinds.pale import CALIBRATION, FINDER, REFERENCE, classes, mistakes, pale_images
from tests.editing.models import small_images, small_model

PARAMS = Params(edit=EditParams(kind=KindSettings(steps=15, batch=32)), views=ViewSettings(fitting=5))


def with_kind_settings(**settings: int) -> Params:
    kind = PARAMS.edit.kind.model_copy(update=settings)
    return PARAMS.model_copy(update={"edit": PARAMS.edit.model_copy(update={"kind": kind})})


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


def test_one_that_could_not_prove_itself_if_it_mended_all_is_found_and_told_but_never_tuned() -> None:
    held_out = len(used()[1].held_out)
    proves = 0.05 ** (1 / held_out)  # the lowest rate that shows so many of so many with more than 5%
    for limit, made in ((proves + 0.001, False), (proves - 0.001, True)):
        gate = PARAMS.gate.model_copy(update={"confidence": 0.95, "kind_gain": limit})
        params = PARAMS.model_copy(update={"gate": gate})
        model, (record,) = use_kinds(small_model(), labelled(), REFERENCE, CALIBRATION, params)
        assert record.why and ("to mend all of them" not in record.why) == made == (record.mended > 0)
        assert model.kinds is None and same_weights(model, small_model())
        assert (record.fitted, set(record.held_out)) == (used()[1].fitted, set(used()[1].held_out))


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


def test_people_are_asked_about_what_a_kind_changes_in_traffic_even_where_only_answers_are_missing() -> None:
    pale, _ = pale_images(60, seed=70)
    traffic = torch.cat([small_images(40, seed=71), pale])
    names = {pixel_digest(image.numpy()): row for row, image in enumerate(traffic)}
    few = with_kind_settings(questions=5)
    evidence = replace(labelled(), images=pale[:0], labels=labelled().labels[:0], traffic=traffic)
    _, (unused,) = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, few)
    assert unused.kind == -1 and "errata kinds ask" in unused.why and len(unused.questions) == 5
    model, (record,) = use_kinds(small_model(), replace(labelled(), traffic=traffic), REFERENCE, CALIBRATION, PARAMS)
    before, after = classes(small_model(), traffic), classes(model, traffic)
    changed = {name for name, row in names.items() if before[row] != after[row]}
    assert len(changed) > 5 and {each.image for each in record.questions} <= changed
    assert len(record.questions) == min(len(changed), 20)
    assert {each.image for each in unused.questions} <= {each.image for each in record.questions}
    known = small_model().spec.classes
    for each in record.questions:
        row = names[each.image]
        assert (each.old, each.new) == (known[before[row]], known[after[row]])
    asked = frozenset(each.image for each in unused.questions)
    _, (again,) = use_kinds(small_model(), replace(evidence, known=asked), REFERENCE, CALIBRATION, few)
    assert not asked & {each.image for each in again.questions}  # what was answered is not asked again


def test_neither_counts_as_wrong_before_and_after() -> None:
    evidence = replace(labelled(), labels=np.full(150, -1, np.int64))
    _, (record,) = use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, PARAMS)
    assert (record.labelled, record.increase) == (150, 0.0)


def test_a_person_splits_a_kind_and_merges_it_again() -> None:
    members = sorted(used()[1].corrections)
    halves = tuple(members[0::2]), tuple(members[1::2])
    apart = KindDecision("split", halves[0], others=halves[1])
    few = with_kind_settings(steps=0)

    def fitted(*decisions: KindDecision) -> list[set[str]]:
        evidence = replace(labelled(), decisions=decisions)
        return [set(each.fitted) for each in use_kinds(small_model(), evidence, REFERENCE, CALIBRATION, few)[1]]

    parts = fitted(apart)
    assert len(parts) == 2
    assert all(part <= set(halves[0]) or part <= set(halves[1]) for part in parts)
    (whole,) = fitted(apart, KindDecision("merged", tuple(members), "pale"))
    assert whole == fitted()[0]


def test_a_kind_of_concept_is_held_against_the_same_and_is_told_apart_by_its_name() -> None:
    mine = concept.unseen()[0]
    labels = np.full(len(mine), concept.CLAIMED, np.int64)
    params = Params(edit=EditParams(kind=concept.FINDER.settings), views=concept.VIEWS)
    evidence = Evidence(concept.claims(), mine, labels)
    model, (record,) = use_kinds(small_model(), evidence, *concept.control(), params)
    assert (record.kind, record.why) == (0, "") and record.name.startswith("concept ")
    assert record.held_out and not set(record.held_out) & set(record.fitted)
    assert record.mended > 0 and record.increase < 0 and record.labelled > len(mine) / 2
    assert model.kinds is not None and model.kinds.spec.concepts == 1
    without, (refused,) = use_kinds(
        small_model(), replace(evidence, images=mine[:0], labels=labels[:0]), *concept.control(), params
    )
    assert without.kinds is None and "no labelled image" in refused.why
