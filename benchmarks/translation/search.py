"""Beam search for many sentences at once: what `BeamSearch.says` finds for each, by a decoder that computes every place
once and keeps its keys and values. A measurement translates hundreds of sentences again after every edit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.translation.model import PADDING, Writer
from errata.editing.constraints.sequences import BeamSearch, Tokens
from errata.editing.network import EditableNetwork

AT_ONCE = 64  # sentences


@dataclass
class Cache:
    """Keys and values `[n, heads, places, width / heads]` of each attention so far."""

    kept: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def take(self, rows: Tensor, names: Iterable[int]) -> None:
        """Keep these rows only, in this order, of the attentions named."""
        self.kept |= {name: (self.kept[name][0][rows], self.kept[name][1][rows]) for name in names}


def layers(writer: Writer) -> list[nn.TransformerDecoderLayer]:
    """The decoder's."""
    return cast(list[nn.TransformerDecoderLayer], list(writer.decoder))


def attend(
    attention: nn.MultiheadAttention, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> Tensor:
    """One place's attention `[n, 1, width]` to keys and values that are kept."""
    width = attention.embed_dim
    asked = F.linear(query, attention.in_proj_weight[:width], attention.in_proj_bias[:width])
    found = F.scaled_dot_product_attention(_by_head(asked, attention), keys, values, mask)
    result: Tensor = attention.out_proj(found.transpose(1, 2).flatten(2))
    return result


def keys_values(attention: nn.MultiheadAttention, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Of inputs `[n, places, width]`."""
    width = attention.embed_dim
    both = F.linear(inputs, attention.in_proj_weight[width:], attention.in_proj_bias[width:])
    return _by_head(both[..., :width], attention), _by_head(both[..., width:], attention)


def _by_head(inputs: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    found: Tensor = inputs.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
    return found


def next_logits(writer: Writer, tokens: Tensor, place: int, cache: Cache, unread: Tensor) -> Tensor:
    """Logits `[n, vocabulary]` of what follows `tokens` `[n]`, which stand at `place`. `unread` `[n, 1, 1, source]`
    masks the source's padding; layer i keeps its own past under 2i and what was read under 2i + 1."""
    hidden = writer.tokens(tokens)[:, None] * math.sqrt(writer.tokens.embedding_dim) + writer.places[place]
    for number, layer in enumerate(layers(writer)):
        normed = layer.norm1(hidden)
        fresh = keys_values(layer.self_attn, normed)
        if place:
            fresh = tuple(torch.cat(pair, 2) for pair in zip(cache.kept[2 * number], fresh, strict=True))  # type: ignore[assignment]
        cache.kept[2 * number] = fresh
        hidden = hidden + attend(layer.self_attn, normed, *fresh, None)
        hidden = hidden + attend(layer.multihead_attn, layer.norm2(hidden), *cache.kept[2 * number + 1], ~unread)
        hidden = hidden + layer.linear2(F.relu(layer.linear1(layer.norm3(hidden))))
    return F.linear(writer.written(hidden[:, 0]), writer.tokens.weight)


@torch.no_grad()
def translations(network: EditableNetwork, sources: Sequence[Sequence[int]], search: BeamSearch) -> list[Tokens]:
    """What the network says for each source, without the end."""
    order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    found: dict[int, Tokens] = {}
    for start in range(0, len(order), AT_ONCE):
        part = order[start : start + AT_ONCE]
        found |= dict(zip(part, _together(network, [sources[row] for row in part], search), strict=True))
    return [found[row] for row in range(len(sources))]


def _together(network: EditableNetwork, sources: Sequence[Sequence[int]], search: BeamSearch) -> list[Tokens]:
    writer = network.backbone
    assert isinstance(writer, Writer)
    width = max(len(one) for one in sources)
    read = torch.tensor([[*one, *[PADDING] * (width - len(one))] for one in sources], device=network.device)
    memory, cache = writer.encode(read), Cache()
    for number, layer in enumerate(layers(writer)):
        cache.kept[2 * number + 1] = keys_values(layer.multihead_attn, memory)
    longest = [search.longest(len(one)) for one in sources]
    live: list[tuple[int, Tokens, float]] = [(row, (), 0.0) for row in range(len(sources))]
    best: list[tuple[float, Tokens]] = [(-math.inf, ())] * len(sources)
    owners = torch.arange(len(sources))
    for size in range(1, max(longest) + 1):
        tokens = torch.tensor([(written or (search.start,))[-1] for _, written, _ in live], device=network.device)
        logs = next_logits(writer, tokens, size - 1, cache, (read == PADDING)[owners, None, None]).log_softmax(-1)
        values, places = (logs + torch.tensor([s for *_, s in live])[:, None].to(logs)).topk(search.beam)
        candidates: dict[int, list[tuple[float, int, int]]] = {}
        for at, (scores, words) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            candidates.setdefault(live[at][0], []).extend((s, at, word) for s, word in zip(scores, words, strict=True))
        fresh: list[tuple[int, Tokens, float]] = []
        parents: list[int] = []
        for row, found in candidates.items():
            kept = []
            for score, at, word in sorted(found, key=lambda one: -one[0])[: search.beam]:
                written = (*live[at][1], word)
                if word == search.end or size == longest[row]:
                    best[row] = max(best[row], (score / size, written), key=lambda one: one[0])
                else:
                    kept.append((at, (row, written, score)))
            # Sums only fall: what cannot come to the best mean any more is dropped, and so is all that takes its place.
            hopeful = [one for one in kept if one[1][2] / longest[row] >= best[row][0]]
            parents += [at for at, _ in hopeful]
            fresh += [one for _, one in hopeful]
        if not fresh:
            break
        live, rows = fresh, torch.tensor(parents, device=network.device)
        theirs, owners = owners, torch.tensor([row for row, *_ in fresh])
        own_past = range(0, 2 * len(layers(writer)), 2)
        cache.take(rows, own_past if torch.equal(theirs, owners) else list(cache.kept))
    return [tuple(token for token in written if token != search.end) for _, written in best]
