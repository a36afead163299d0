"""`l_e <= 0` iff beam search says the wanted sentence, whatever the search drops on its way."""

from itertools import permutations

import torch

from errata.editing.demands import gather
from errata.editing.sequences import SequenceConstraint
from tests.editing.models import SEARCH, small_sentences, small_writer


def test_a_constraint_holds_iff_the_search_says_it() -> None:
    network = small_writer()
    held = 0
    for source in small_sentences(3, seed=9):
        said = SEARCH.says(network, source)
        wanted = [torch.tensor(words) for words in permutations(source.tolist())] + [source[:2], torch.tensor(said)]
        for one in wanted:
            demands = gather(network, [SequenceConstraint(source, one, SEARCH)])
            with torch.no_grad():
                (l_e,) = demands.measure.violations(lambda _, x: network(x), {}, demands.inputs, demands.targets)
            assert (float(l_e) <= 0) == (tuple(one.tolist()) == said)
            held += float(l_e) <= 0
    assert held >= 3
