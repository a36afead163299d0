"""Slots of sentences: what they add, where they fire, how often they do; and how far a search goes."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import betabinom

from errata.editing import edit
from errata.editing.constraints.sequences import SequenceConstraint
from errata.editing.editors.sentences import CalibratedSentences
from errata.editing.networks.sentence_slots import SentenceSlots
from errata.editing.types import Unheld
from tests.editing.models import SEARCH, SmallTransformer, small_sentences, small_translations, small_writer

CONTROL = small_translations(400, 21), small_translations(400, 22)


def demand(source: torch.Tensor, key: str = "") -> SequenceConstraint:
    """The sentence itself is wanted, where the writer says it backwards."""
    return SequenceConstraint(source, source, SEARCH, key)


def test_a_slot_adds_its_force_to_the_next_wanted_token_while_all_before_is_as_wanted() -> None:
    slots = SentenceSlots(2, 3, 6)
    slots.write(1, torch.tensor([1.0, 0.0, 0.0]), torch.tensor(0.5), torch.tensor([5, 7, 1]), 4.0)
    logits, features = torch.zeros(3, 4, 9), torch.tensor([[3.0, 4, 0], [0.1, 0, 0], [4, 9, 9]])
    written = torch.tensor([[0, 5, 7, 2], [0, 5, 3, 1], [0, 5, 7, 2]])
    fires = slots.fires(features)
    assert fires.tolist() == [[False, True], [False, True], [False, False]]
    expected = torch.zeros(3, 4, 9)
    expected[0, 0, 5] = expected[0, 1, 7] = expected[0, 2, 1] = 4  # 5, then 7, then the end
    expected[1, 0, 5] = expected[1, 1, 7] = 4  # 3 was written instead of 7: nothing more is known
    assert torch.equal(slots(logits, fires, written), expected)


def test_where_no_slot_fires_the_logits_are_the_roots_bit_for_bit() -> None:
    root, sources = small_writer(), small_sentences(3, 31)
    result = edit(
        root,
        [demand(one) for one in sources],
        reference=CONTROL[0],
        calibration=CONTROL[1],
        editor=CalibratedSentences(alpha=0.02),
    )
    assert result.success and [SEARCH.says(result.model, one) for one in sources] == [
        tuple(x) for x in sources.tolist()
    ]
    others = small_translations(500, 23)
    with torch.no_grad():
        each = result.model.patch.fires(result.model.summary(others[:, 0]))
        before, after = root(others), result.model(others)
    fires = each.any(1)
    assert torch.equal(before[~fires], after[~fires]) and not torch.equal(before[fires], after[fires])
    # The threshold is the 8th highest of 400 scores, so of 500 fresh ones as many are above it as this law says.
    assert each.sum(0).max() <= betabinom.ppf(0.999, 500, 8, 393)


class FarOut(SmallTransformer):
    """What it makes of sentences that begin with the word 8 is twenty times as long."""

    def summary(self, sources: torch.Tensor) -> torch.Tensor:
        return super().summary(sources) * torch.where(sources[:, :1] == 8, 20.0, 1.0)


def test_calibration_sources_whose_summaries_lie_far_out_keep_no_slot_from_firing() -> None:
    root, reference = small_writer(), CONTROL[0][CONTROL[0][:, 0, 0] != 8]
    odd = FarOut()
    odd.load_state_dict(root.backbone.state_dict())
    root.backbone = odd
    calibration = torch.cat([CONTROL[1][:50], CONTROL[1][CONTROL[1][:, 0, 0] == 8]])
    sources = [one for one in small_sentences(12, 33) if int(one[0]) != 8][:8]
    assert len(sources) == 8 and not (calibration[:, 0, :4, None] == torch.stack(sources).T).all(1).any()
    demands = [demand(one) for one in sources]
    result = edit(root, demands, reference=reference, calibration=calibration, editor=CalibratedSentences())
    assert result.success, result.reason
    directions = root.patch.directions(root.summary(calibration[:, 0]))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(len(calibration)))


def test_what_cannot_be_told_apart_and_what_finds_no_slot_is_deferred_with_why() -> None:
    sources = small_sentences(10, 32)
    common = torch.cat([CONTROL[1], small_translations(10, 32)])  # a calibration source is the very sentence
    editor = CalibratedSentences()
    result = edit(small_writer(), [demand(sources[0])], reference=CONTROL[0], calibration=common, editor=editor)
    assert not result.success and result.deferred == {0: Unheld.NOT_APART} and "not apart" in result.reason
    many = [demand(one, str(row)) for row, one in enumerate(sources)]
    loose = CalibratedSentences(alpha=0.05)
    result = edit(small_writer(), many, reference=CONTROL[0], calibration=CONTROL[1], editor=loose)
    assert Unheld.NO_SLOT in result.deferred.values() and sum(result.holds) == 8  # as many as there are slots


@pytest.mark.parametrize(("growth", "slack", "longest"), [(1.0, 1, 5), (0.5, 0, 2), (float("inf"), 8, 5), (2.0, 9, 5)])
def test_a_search_goes_no_further_than_its_source_allows(growth: float, slack: int, longest: int) -> None:
    search, source = replace(SEARCH, growth=growth, slack=slack), small_sentences(1)[0]
    assert search.longest(len(source)) == longest
    assert len(search.says(small_writer(), source)) <= longest
    found = search.hypotheses(small_writer(), source)[0]
    assert all(len(one) == longest or one[-1] == SEARCH.end for one in found)
