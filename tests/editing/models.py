"""Small models for the tests: a narrow residual network on 8x8 images, a perceptron with real
outputs, a Transformer that writes sentences."""

import copy
from collections import OrderedDict
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.constraints.sequences import BeamSearch
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.network import EditableNetwork
from errata.editing.networks.sentence_slots import SlottedNetwork


def small_model(seed: int = 0, classes: int = 4, slots: int = 8) -> EditableModel:
    """An untrained network with settled batch-norm statistics and non-trivial affine parameters, in eval mode."""
    torch.manual_seed(seed)
    names = tuple(f"class {index}" for index in range(classes))
    spec = ModelSpec("resnet", names, (8, 8, 1), (0.4,), (0.3,), {"width": 4, "blocks": 1}, slots)
    model = EditableModel.from_spec(spec).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".bn" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for step in range(20):
            model(small_images(64, seed=1000 + step))
    return model.eval()


def small_images(count: int, seed: int = 1) -> Tensor:
    """Random uint8 images `[count, 8, 8, 1]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 8, 8, 1), generator=generator, dtype=torch.uint8)


def small_network(seed: int = 0) -> EditableNetwork:
    """An untrained perceptron from five features to two real outputs; its stages are called as those of the model."""
    torch.manual_seed(seed)
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        chain3=nn.Sequential(nn.Linear(5, 16), nn.Tanh()), chain4=nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    )
    return EditableNetwork(nn.Sequential(stages), nn.Linear(16, 2)).eval()


def small_features(count: int, seed: int = 1) -> Tensor:
    """Random features `[count, 5]`."""
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))


SEARCH = BeamSearch(beam=4, length=6, start=0, end=1, padding=2)  # and six words, 3 to 8


class SmallTransformer(nn.Module):
    """Takes pairs of token rows `[n, 2, width]`, returns logits `[n, width, 9]`; parts are called as the model's."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 16)
        self.places = nn.Parameter(torch.randn(6, 16))
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.chain3 = nn.TransformerDecoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.chain4 = nn.Linear(16, 9)
        self.register_buffer("mask", torch.ones(6, 6, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, pairs: Tensor) -> Tensor:
        width, unread = pairs.shape[2], pairs[:, 0] == SEARCH.padding
        source, written = (self.tokens(pairs[:, row]) + self.places[:width] for row in (0, 1))
        read = self.encoder(source, src_key_padding_mask=unread)
        mask = self.mask[:width, :width]
        logits: Tensor = self.chain4(self.chain3(written, read, tgt_mask=mask, memory_key_padding_mask=unread))
        return logits

    def summary(self, sources: Tensor) -> Tensor:
        """What is read of the four words, one after the other: `[n, 64]`."""
        unread = sources == SEARCH.padding
        wide = self.tokens(sources) + self.places[: sources.shape[1]]
        read: Tensor = self.encoder(wide, src_key_padding_mask=unread)
        return read[:, :4].flatten(1)


@cache
def _trained_writer() -> SlottedNetwork:
    torch.manual_seed(0)
    network = SlottedNetwork(SmallTransformer(), slots=8, features=64, length=SEARCH.length)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(80):
        pairs = small_translations(64, 2000 + step)
        wanted = torch.cat([pairs[:, 1, 1:], torch.full((64, 1), SEARCH.padding)], 1)
        loss = F.cross_entropy(network(pairs).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def small_writer() -> SlottedNetwork:
    """A Transformer that was trained a little to write sentences backwards, in eval mode."""
    return copy.deepcopy(_trained_writer())


def small_translations(count: int, seed: int = 1) -> Tensor:
    """Sentences and what they are backwards, with start and end: int64 `[count, 2, 6]`."""
    sources = small_sentences(count, seed)
    ends = torch.tensor([SEARCH.start, SEARCH.end, SEARCH.padding]).expand(count, 3)
    backwards = torch.cat([ends[:, :1], sources.flip(1), ends[:, 1:2]], 1)
    return torch.stack([torch.cat([sources, ends[:, 2:], ends[:, 2:]], 1), backwards], 1)


def small_sentences(count: int, seed: int = 1) -> Tensor:
    """Random sentences of four words: int64 `[count, 4]`."""
    return torch.randint(3, 9, (count, 4), generator=torch.Generator().manual_seed(seed))
