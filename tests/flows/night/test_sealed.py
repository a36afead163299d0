"""The sealed split: each question is a look, and only what chance does not explain is called selection."""

from dataclasses import replace
from math import comb

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.looks import Looks
from errata.data.splits import load_split, read_record, save_splits
from errata.editing.errors import DataError
from errata.editing.metrics import PairedOutcomes
from errata.flows.gate.spending import confidence_at
from errata.flows.night.sealed import SealedAnswer, ask_sealed, worse_by_chance
from errata.flows.params import GateParams
from errata.flows.workspace import Workspace
from tests.flows.conftest import Place


def seal(workspace: Workspace) -> None:
    """Part of the test split becomes the sealed one."""
    splits = {name: load_split(workspace.splits, name) for name in read_record(workspace.splits).splits}
    test = splits["test"]
    halves = {"test": test.take(np.arange(70)), "sealed": test.take(np.arange(70, len(test)))}
    save_splits({**splits, **halves}, workspace.splits)


def test_each_question_about_a_release_is_a_look_at_the_sealed_split(place: Place) -> None:
    with pytest.raises(DataError, match=r"data\.splits\.sealed"):
        ask_sealed(place.night())
    seal(place.workspace)
    before = set(place.storage.keys(layout.LOOKS))
    answer = ask_sealed(place.night())
    assert (answer.version, answer.look, answer.crept_in) == (1, 1, False)
    assert (answer.gate.n, answer.sealed.n, answer.sealed.negative_flips) == (350, 77, 0)  # a root against itself
    assert ask_sealed(place.night()).look == 1
    split = read_record(place.workspace.splits).splits["sealed"].sha256
    digests = [pixel_digest(each) for each in load_split(place.workspace.splits, "sealed").images]
    Looks(place.storage).count(split, digests, "a" * 64)
    assert Looks(place.storage).so_far(split, digests) == 2
    assert len(set(place.storage.keys(layout.LOOKS)) - before) == 3  # two looks, and which images


def test_the_chance_is_that_of_drawing_so_many_without_replacement() -> None:
    """5 of 20 sealed and 1 of 40 gate images: of all ways to have 6 among 60, those with 5 or 6 sealed ones."""
    exact = sum(comb(20, count) * comb(40, 6 - count) for count in (5, 6)) / comb(60, 6)
    assert worse_by_chance(5, 20, 1, 40) == pytest.approx(exact)


def test_selection_that_crept_in_is_told_and_chance_is_not() -> None:
    def paired(n: int, flips: int) -> PairedOutcomes:
        return PairedOutcomes(n, n - flips, flips, 0, 0)

    gate, sealed = paired(1000, 2), paired(1000, 30)
    p = worse_by_chance(30, 1000, 2, 1000)
    answer = SealedAnswer(3, 1, 1 / 11, gate, sealed, p, p, 0.0045)
    assert answer.crept_in and "errata control add" in answer.sentence
    p = worse_by_chance(4, 1000, 2, 1000)
    assert not replace(answer, sealed=paired(1000, 4), p_flips=p, p_error=p).crept_in


def test_chance_alone_is_called_selection_at_most_as_often_as_the_error_allows() -> None:
    """2,000 first looks at splits whose rates of flips and of errors are the same."""
    level = 1 - confidence_at(1, GateParams(looks=1))
    rng = np.random.default_rng(0)
    draws = rng.binomial(400, [0.02, 0.02, 0.06, 0.06], (2000, 4)).tolist()
    found = [2 * min(worse_by_chance(a, 400, b, 400), worse_by_chance(c, 400, d, 400)) <= level for a, b, c, d in draws]
    assert 0 < np.mean(found) <= level
