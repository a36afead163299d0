"""The constraint of a network that writes sentences: beam search is to say the wanted one.

    l_e = max over the beam's other hypotheses of mean-token log p - mean-token log p(wanted)

Source: the translation experiment of Sinitsin et al. 2020. Hypotheses are searched anew whenever `l_e` is asked for,
for an edit lets new ones win. Where the search drops the wanted sentence on its way, its score alone could not bring it
back; then `l_e` compares what it had written of it with the last candidate that was kept. So `l_e <= 0` iff the search
says it.

The network takes pairs of token rows, int64 `[n, 2, length]`: the source, and the start token with what is written so
far, both padded. It returns logits `[n, length, vocabulary]`, at each place those of the next token. It is one stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.demands import Demands, Network, content
from errata.editing.errors import ConstraintError
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import stages

Tokens = tuple[int, ...]
_TIE = 1e-6  # a wanted sentence that the search dropped at an equal score is not said


@dataclass(frozen=True)
class BeamSearch:
    """Keeps the `beam` likeliest candidates of each length; what has ended, or is `length - 1` tokens long, is a
    hypothesis, and the one of the highest mean-token log p is said. Tokens: `start`, `end`, `padding`."""

    beam: int
    length: int
    start: int
    end: int
    padding: int

    def says(self, network: EditableNetwork, source: Tensor) -> Tokens:
        """The sentence that `network` (in eval mode) writes for `source` int64 `[at most length]`, without its end."""
        found = self.hypotheses(network, self.row(source.tolist(), network.device))[0]
        best = max(found, key=found.__getitem__)
        return tuple(token for token in best if token != self.end)

    @torch.no_grad()
    def hypotheses(
        self, outputs: Callable[[Tensor], Tensor], source: Tensor, wanted: Tokens = ()
    ) -> tuple[dict[Tokens, float], Tokens, Tokens]:
        """Mean-token log p by hypothesis, for a padded `source` `[length]`; and if `wanted` was dropped, its part that
        was dropped and the last candidate that was kept instead (else both are empty)."""
        live, found, dropped, kept = {(): 0.0}, dict[Tokens, float](), Tokens(), Tokens()
        for size in range(1, self.length):
            pairs = torch.stack([self.pair(source, one) for one in live])
            logs = outputs(pairs)[:, size - 1].float().log_softmax(-1)
            sums = logs + torch.tensor(list(live.values()), device=logs.device)[:, None]
            top = sums.flatten().topk(min(self.beam, sums.numel()))
            prefixes, vocabulary = list(live), sums.shape[1]
            chosen = {
                (*prefixes[place // vocabulary], place % vocabulary): value
                for value, place in zip(top.values.tolist(), top.indices.tolist(), strict=True)
            }
            if not dropped and size <= len(wanted) and wanted[:size] not in chosen:
                dropped, kept = wanted[:size], list(chosen)[-1]
            ended = {one for one in chosen if one[-1] == self.end or size == self.length - 1}
            found |= {one: chosen[one] / size for one in ended}
            live = {one: value for one, value in chosen.items() if one not in ended}
            if not live:
                break
        return found, dropped, kept

    def row(self, tokens: Sequence[int], device: torch.device) -> Tensor:
        """Tokens, padded: int64 `[length]`."""
        return torch.tensor([*tokens, *[self.padding] * (self.length - len(tokens))], device=device)

    def pair(self, source: Tensor, written: Tokens) -> Tensor:
        """What the network takes: int64 `[2, length]`."""
        return torch.stack([source, self.row([self.start, *written][: self.length], source.device)])


@dataclass(frozen=True)
class SequenceMeasure:
    """`l_e` by a beam search for each constraint. Inputs are pairs of the source and the wanted sentence, targets its
    tokens with their end, padded."""

    search: BeamSearch

    def violations(self, network: Network, params: Tensors, inputs: Tensor, targets: Tensor) -> Tensor:
        pairs = zip(inputs, targets, strict=True)
        return torch.stack([self._one(network, params, x[0], self._tokens(y)) for x, y in pairs])

    def gradients(
        self, network: Network, params: Tensors, names: Sequence[str], inputs: Tensor, targets: Tensor
    ) -> Tensors:
        values = {name: params[name].detach().requires_grad_() for name in names}
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        for x, y in zip(inputs, targets, strict=True):
            with torch.enable_grad():
                l_e = self._one(network, {**params, **values}, x[0], self._tokens(y))
                slopes = torch.autograd.grad(l_e, list(values.values()), materialize_grads=True)
            for name, gradient in zip(names, slopes, strict=True):
                found[name].append(gradient)
        return {name: torch.stack(rows) for name, rows in found.items()}

    def _one(self, network: Network, params: Tensors, source: Tensor, wanted: Tokens) -> Tensor:
        found, dropped, kept = self.search.hypotheses(lambda pairs: network(params, pairs), source, wanted)
        others = {one: score for one, score in found.items() if one != wanted}
        mine, rival = (dropped, kept) if dropped else (wanted, max(others, key=others.__getitem__))
        logs = network(params, torch.stack([self.search.pair(source, one) for one in (mine, rival)]))
        logs = logs.to(torch.promote_types(logs.dtype, torch.float32)).log_softmax(-1)
        means = [logs[row, range(len(one)), list(one)].mean() for row, one in enumerate((mine, rival))]
        return means[1] - means[0] + (_TIE if dropped else 0.0)

    def _tokens(self, target: Tensor) -> Tokens:
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
        rows = [(search.row(one.source.tolist(), model.device), tuple(one.wanted.tolist())) for one in constraints]
        inputs = torch.stack([search.pair(source, wanted) for source, wanted in rows])
        targets = torch.stack([search.row([*wanted, search.end], model.device) for _, wanted in rows])
        return Demands(inputs, targets, SequenceMeasure(search))


def _check_one(one: SequenceConstraint, search: BeamSearch, name: str) -> None:
    if one.search != search:
        raise ConstraintError(f"{name}: its search is not that of the first constraint; give all the same")
    if search.beam < 2:
        raise ConstraintError(f"{name}: a beam of {search.beam} has no other hypotheses; give at least 2")
    for what, tokens, room in (("source", one.source, search.length), ("sentence", one.wanted, search.length - 2)):
        if tokens.dtype != torch.int64 or tokens.ndim != 1:
            raise ConstraintError(f"{name}: the {what} is {tokens.dtype} {tuple(tokens.shape)}; give int64 [n]")
        if len(tokens) > room:
            raise ConstraintError(f"{name}: the {what} has {len(tokens)} tokens, the search has room for {room}")
    if bool(torch.isin(one.wanted, torch.tensor([search.start, search.end, search.padding])).any()):
        raise ConstraintError(f"{name}: the sentence holds a token of start, end or padding; leave it out")
