"""The constraint of a network that writes sentences: beam search is to say the wanted one.

    l_e = max over the beam's other hypotheses of mean-token log p - mean-token log p(wanted)

Source: the translation experiment of Sinitsin et al. 2020. Hypotheses are searched anew whenever `l_e` is asked for,
for an edit lets new ones win. Where the search drops the wanted sentence on its way, its score alone could not bring it
back; then `l_e` compares what it had written of it with the last candidate that was kept. So `l_e <= 0` iff the search
says it.

The network takes pairs of token rows, int64 `[n, 2, width]`: the source, and the start token with what is written so
far, both padded. It returns logits `[n, width, vocabulary]`, at each place those of the next token. It is one stage,
and how much padding there is changes nothing: the search gives it rows as short as they can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from errata.editing.constraints.demands import Demands, Network, content
from errata.editing.errors import ConstraintError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import stages

Tokens = tuple[int, ...]
_TIE = 1e-6  # a wanted sentence that the search dropped at an equal score is not said


@dataclass(frozen=True)
class BeamSearch:
    """Keeps the `beam` likeliest candidates of each length; what has ended, or is as long as the search goes, is a
    hypothesis, and the one of the highest mean-token log p is said. Tokens: `start`, `end`, `padding`.

    The search goes to `length - 1` tokens, and to no more than `growth` for each of the source's and `slack` besides:
    without that, means prefer sentences that never end.
    """

    beam: int
    length: int
    start: int
    end: int
    padding: int
    growth: float = math.inf
    slack: int = 8

    def longest(self, source: int) -> int:
        """How many tokens, with the end, may be written for a source of that many."""
        return int(min(self.length - 1, self.growth * max(source, 1) + self.slack))

    def says(self, network: EditableNetwork, source: Tensor) -> Tokens:
        """The sentence that `network` (in eval mode) writes for `source` int64 `[at most length]`, without its end."""
        found = self.hypotheses(network, source.to(network.device))[0]
        best = max(found, key=found.__getitem__)
        return tuple(token for token in best if token != self.end)

    @torch.no_grad()
    def hypotheses(
        self, outputs: Callable[[Tensor], Tensor], source: Tensor, wanted: Tokens = ()
    ) -> tuple[dict[Tokens, float], Tokens, Tokens]:
        """Mean-token log p by hypothesis, for a `source` `[n]` without padding; and if `wanted` was dropped, its part
        that was dropped and the last candidate that was kept instead (else both are empty).

        The search ends where nothing can change any more: where `wanted` was dropped, or no candidate can come to a
        higher mean than the best hypothesis but `wanted` has (sums only fall, so a sum over the longest length bounds
        the mean).
        """
        live, found = {(): 0.0}, dict[Tokens, float]()
        longest = self.longest(len(source))
        for size in range(1, longest + 1):
            logs = outputs(self.pairs(source, list(live)))[:, size - 1].float().log_softmax(-1)
            sums = logs + torch.tensor(list(live.values()), device=logs.device)[:, None]
            top = sums.flatten().topk(min(self.beam, sums.numel()))
            prefixes, vocabulary = list(live), sums.shape[1]
            chosen = {
                (*prefixes[place // vocabulary], place % vocabulary): value
                for value, place in zip(top.values.tolist(), top.indices.tolist(), strict=True)
            }
            if size <= len(wanted) and wanted[:size] not in chosen:
                return found, wanted[:size], list(chosen)[-1]
            ended = {one for one in chosen if one[-1] == self.end or size == longest}
            found |= {one: chosen[one] / size for one in ended}
            live = {one: value for one, value in chosen.items() if one not in ended}
            best = max((score for one, score in found.items() if one != wanted), default=-math.inf)
            settled = not wanted or wanted in found
            if not live or (settled and max(live.values()) / longest < best):
                break
        return found, (), ()

    def row(self, tokens: Sequence[int], width: int, device: torch.device) -> Tensor:
        """Tokens, padded: int64 `[width]`."""
        return torch.tensor([*tokens, *[self.padding] * (width - len(tokens))], device=device)

    def pairs(self, source: Tensor, written: Sequence[Tokens]) -> Tensor:
        """What the network takes, for a source and several candidates: int64 `[n, 2, width]`."""
        width = max(len(source), 1 + max(len(one) for one in written))
        read = self.row(source.tolist(), width, source.device)
        return torch.stack([torch.stack([read, self.row([self.start, *one], width, read.device)]) for one in written])


@dataclass(frozen=True)
class SequenceMeasure:
    """`l_e` by a beam search for each constraint. Inputs are pairs of the source and the wanted sentence, targets its
    tokens with their end, padded."""

    search: BeamSearch

    def violations(self, network: Network, params: Tensors, inputs: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(inputs, targets, strict=True)
        return torch.stack([self._one(network, params, self._source(x), self._wanted(y)) for x, y in pairs])

    def gradients(
        self, network: Network, params: Tensors, names: Sequence[str], inputs: Tensor, targets: Tensor
    ) -> Tensors:
        values = {name: params[name].detach().requires_grad_() for name in names}
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for x, y in zip(inputs, targets, strict=True):
            with torch.enable_grad():
                l_e = self._one(network, {**params, **values}, self._source(x), self._wanted(y))
                slopes = torch.autograd.grad(l_e, list(values.values()), materialize_grads=True)
            for name, gradient in zip(names, slopes, strict=True):
                found[name].append(gradient)
        return {name: torch.stack(rows) for name, rows in found.items()}

    def _one(self, network: Network, params: Tensors, source: Tensor, wanted: Tokens) -> Tensor:
        found, dropped, kept = self.search.hypotheses(lambda pairs: network(params, pairs), source, wanted)
        others = {one: score for one, score in found.items() if one != wanted}
        mine, rival = (dropped, kept) if dropped else (wanted, max(others, key=others.__getitem__))
        logs = network(params, self.search.pairs(source, [mine[:-1], rival[:-1]]))
        logs = logs.to(torch.promote_types(logs.dtype, torch.float32)).log_softmax(-1)
        means = [logs[row, range(len(one)), list(one)].mean() for row, one in enumerate((mine, rival))]
        return means[1] - means[0] + (_TIE if dropped else 0.0)

    def _source(self, pair: Tensor) -> Tensor:
        return pair[0, : int((pair[0] != self.search.padding).sum())]

    def _wanted(self, target: Tensor) -> Tokens:
        tokens = target.tolist()
        return tuple(tokens[: tokens.index(self.search.end) + 1])


@dataclass(frozen=True)
class SequenceConstraint:
    """For `source`, int64 tokens, `search` must say `wanted`, int64 tokens without their end. `key` names it in
    messages."""

    source: Tensor
    wanted: Tensor
    search: BeamSearch
    key: str = ""

    @property
    def identity(self) -> tuple[str, bytes, bytes]:
        """Key, wanted sentence and source."""
        return self.key, content(self.wanted), content(self.source)

    @classmethod
    def demands(cls, model: EditableNetwork, constraints: Sequence[SequenceConstraint]) -> Demands:
        """Raises ConstraintError, naming the constraint, if it does not fit the search, two contradict, or the network
        is cut into stages."""
        if len(stages(model)) > 1:
            raise ConstraintError("a network that writes sentences is one stage; make it one module, not a Sequential")
        search = constraints[0].search
        demanded: dict[Tokens, tuple[Tokens, str]] = {}
        for position, one in enumerate(constraints):
            name = one.key or f"constraint {position}"
            _check_one(one, search, name)
            source, wanted = tuple(one.source.tolist()), tuple(one.wanted.tolist())
            first, other = demanded.setdefault(source, (wanted, name))
            if first != wanted:
                raise ConstraintError(f"{other} and {name} contradict: two sentences for one source; remove one")
        row = partial(search.row, width=search.length, device=model.device)
        both = [(one.source.tolist(), one.wanted.tolist()) for one in constraints]
        inputs = torch.stack([torch.stack([row(source), row([search.start, *wanted])]) for source, wanted in both])
        targets = torch.stack([row([*wanted, search.end]) for _, wanted in both])
        return Demands(inputs, targets, SequenceMeasure(search))


def _check_one(one: SequenceConstraint, search: BeamSearch, name: str) -> None:
    if one.search != search:
        raise ConstraintError(f"{name}: its search is not that of the first constraint; give all the same")
    if search.beam < 2:
        raise ConstraintError(f"{name}: a beam of {search.beam} has no other hypotheses; give at least 2")
    longest = search.longest(len(one.source)) - 1
    for what, tokens, room in (("source", one.source, search.length), ("sentence", one.wanted, longest)):
        if tokens.dtype != torch.int64 or tokens.ndim != 1:
            raise ConstraintError(f"{name}: the {what} is {tokens.dtype} {tuple(tokens.shape)}; give int64 [n]")
        if len(tokens) > room:
            raise ConstraintError(f"{name}: the {what} has {len(tokens)} tokens, the search has room for {room}")
    if bool((one.source == search.padding).any()):
        raise ConstraintError(f"{name}: the source holds the padding token; leave it out")
    if bool(torch.isin(one.wanted, torch.tensor([search.start, search.end, search.padding])).any()):
        raise ConstraintError(f"{name}: the sentence holds a token of start, end or padding; leave it out")
