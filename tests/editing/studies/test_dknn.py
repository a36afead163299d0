"""Deep k-NN against brute force, and its edit by flipping labels."""

import pytest
import torch

from errata.editing.errors import DataError, ModelError
from errata.editing.scopes import before
from errata.editing.studies.dknn import DeepNeighbours, NeighbourModel
from errata.editing.studies.protocol import Control, draw_demands, run_protocol
from errata.editing.types import Constraint
from tests.editing.models import small_images, small_model

MEMORIES, LABELS = small_images(50, seed=5), torch.arange(50) % 4
LAYERS = ("chain2", "chain4")


def model() -> NeighbourModel:
    return NeighbourModel(small_model(), MEMORIES, LABELS, LAYERS, k=3)


@torch.no_grad()
def test_votes_are_the_nearest_memories_of_every_layer() -> None:
    images, network = small_images(7), small_model()
    votes = torch.zeros(7, 4)
    for cut in (3, 5):  # what enters the stage after chain 2 and chain 4
        old, new = (
            torch.nn.functional.normalize(before(network, part, cut).mean((2, 3)), dim=1) for part in (MEMORIES, images)
        )
        for row, near in enumerate(torch.cdist(new, old).argsort(1)[:, :3]):
            for memory in near:
                votes[row, LABELS[memory]] += 1
    torch.testing.assert_close(model()(images), votes, atol=6e-3, rtol=0)


def test_a_memory_finds_itself_first() -> None:
    assert model().features(MEMORIES)[:, 0].tolist() == list(range(50))


def test_flips_as_few_labels_as_the_vote_needs_and_leaves_the_root() -> None:
    root, image = model(), small_images(1)[0]
    votes = root(image[None])[0]
    target = int(votes.argmin())
    before_flips = root.head.weight.clone()
    result = DeepNeighbours().edit(root, [Constraint(image, target)], None)
    assert result.success and 1 <= result.steps <= 6
    assert int(result.model(image[None]).argmax()) == target
    assert torch.equal(root.head.weight, before_flips)
    changed = (result.model.head.weight != before_flips).any(0)
    assert int(changed.sum()) == result.steps and bool((result.model.head.weight.sum(0) == 1).all())
    assert set(changed.nonzero()[:, 0].tolist()) <= set(root.features(image[None])[0].long().tolist())
    again = DeepNeighbours().edit(result.model, [Constraint(image, target)], None)
    assert again.success and again.steps == 0


def test_runs_in_the_protocol() -> None:
    images, labels = small_images(30), torch.arange(30) % 4
    trials = list(run_protocol(DeepNeighbours(), None, Control(model(), images, labels), draw_demands(5, 30, 4, 0)))
    assert all(trial.success for trial in trials)


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(ModelError, match="NeighbourModel"):
        DeepNeighbours().prepare(small_model(), MEMORIES, MEMORIES)
    with pytest.raises(ModelError, match="chain9"):
        NeighbourModel(small_model(), MEMORIES, LABELS, ("chain9",), 3)
    with pytest.raises(DataError, match="51 neighbours of 50"):
        NeighbourModel(small_model(), MEMORIES, LABELS, LAYERS, 51)
