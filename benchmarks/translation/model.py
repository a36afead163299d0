"""A small Transformer that translates German into English, trained on Multi30k; stopped and resumed at will.

Its vocabulary is of pieces of words of both languages together (sentencepiece, unigram); one table of them is what the
encoder and the decoder read and what the decoder writes (Press & Wolf 2017). Layers are torch's own, normalised first.
"""

from __future__ import annotations

import gzip
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.likelihoods import Categorical
from errata.editing.network import EditableNetwork

PADDING, START, END = 0, 1, 2  # and 3, the unknown piece
LENGTH = 64  # tokens of a sentence at most, with its start


@dataclass(frozen=True)
class Size:
    """How large the network is."""

    vocabulary: int = 4000
    width: int = 128
    inner: int = 512
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1


class Writer(nn.Module):
    """Takes pairs of token rows int64 `[n, 2, length]`, the source and what is written; returns the logits of the next
    token at each place, `[n, length, vocabulary]`."""

    places: Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        nn.init.normal_(self.tokens.weight, std=size.width**-0.5)
        wide = (size.width, size.heads, size.inner, size.dropout)
        self.encoder = nn.ModuleList(
            nn.TransformerEncoderLayer(*wide, batch_first=True, norm_first=True) for _ in range(size.layers)
        )
        self.decoder = nn.ModuleList(
            nn.TransformerDecoderLayer(*wide, batch_first=True, norm_first=True) for _ in range(size.layers)
        )
        self.read, self.written = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.dropout = nn.Dropout(size.dropout)
        self.register_buffer("places", sinusoids(LENGTH, size.width), persistent=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens `[n, length]` with their places: `[n, length, width]`."""
        wide = self.tokens(tokens) * math.sqrt(self.tokens.embedding_dim)
        found: Tensor = self.dropout(wide + self.places[: tokens.shape[1]])
        return found

    def encode(self, source: Tensor) -> Tensor:
        """What is read of the source, `[n, length, width]`."""
        hidden = self.embed(source)
        for layer in self.encoder:
            hidden = layer(hidden, src_key_padding_mask=source == PADDING)
        found: Tensor = self.read(hidden)
        return found

    def summary(self, sources: Tensor) -> Tensor:
        """The mean of what is read of each source: `[n, width]`."""
        read = (sources != PADDING)[..., None]
        found: Tensor = (self.encode(sources) * read).sum(1) / read.sum(1)
        return found

    def decode(self, memory: Tensor, source: Tensor, written: Tensor) -> Tensor:
        """The state at each place of what is written, `[n, length, width]`."""
        length = written.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=written.device).triu(1)
        hidden = self.embed(written)
        for layer in self.decoder:
            hidden = layer(hidden, memory, tgt_mask=later, memory_key_padding_mask=source == PADDING)
        found: Tensor = self.written(hidden)
        return found

    def forward(self, pairs: Tensor) -> Tensor:
        source, written = pairs[:, 0], pairs[:, 1]
        return F.linear(self.decode(self.encode(source), source, written), self.tokens.weight)


def sinusoids(length: int, width: int) -> Tensor:
    """Places as sines and cosines, `[length, width]` (Vaswani et al. 2017, section 3.5)."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@dataclass(frozen=True)
class Schedule:
    """How it is trained: Adam, the rate rising for `warmup` steps and falling in a straight line to nothing."""

    epochs: int = 5
    tokens: int = 1500  # a batch, of the longer side
    rate: float = 3e-3
    warmup: int = 200
    seed: int = 1


class Vocabulary:
    """Pieces of words by sentencepiece, learned from the training sentences and kept in `path`."""

    def __init__(self, path: Path, sentences: Sequence[str] = (), size: int = Size.vocabulary) -> None:
        import sentencepiece  # noqa: PLC0415, the extra `translation`

        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences), model_prefix=str(path.with_suffix("")), vocab_size=size,
                pad_id=PADDING, bos_id=START, eos_id=END, unk_id=3, num_threads=1, minloglevel=2,
            )  # fmt: skip
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))

    @property
    def size(self) -> int:
        """How many pieces there are."""
        return int(self.pieces.get_piece_size())

    def tokens(self, sentence: str) -> list[int]:
        found: list[int] = self.pieces.encode(sentence)
        return found[: LENGTH - 2]

    def sentence(self, tokens: Sequence[int]) -> str:
        found: str = self.pieces.decode([token for token in tokens if token > END])
        return found


Pair = tuple[list[int], list[int]]  # tokens of a German sentence and of its English one


def read_side(data: Path, split: str, language: str) -> list[str]:
    """The sentences of `data/<split>.<language>.gz` (or without .gz), one a line."""
    path = data / f"{split}.{language}.gz"
    text = gzip.decompress(path.read_bytes()) if path.exists() else path.with_suffix("").read_bytes()
    return text.decode().splitlines()


@dataclass(frozen=True)
class Corpus:
    """Multi30k in the folder `data` (`train`, `val` and `test_2016_flickr` in `de` and `en`); `pieces` of it are kept
    in that file."""

    data: Path
    pieces: Path

    @cached_property
    def vocabulary(self) -> Vocabulary:
        if self.pieces.exists():
            return Vocabulary(self.pieces)
        return Vocabulary(self.pieces, [line for side in ("de", "en") for line in read_side(self.data, "train", side)])

    @cached_property
    def training(self) -> list[Pair]:
        """The pairs of `train`, computed once."""
        return self.pairs("train")

    def pairs(self, split: str) -> list[Pair]:
        german, english = (read_side(self.data, split, side) for side in ("de", "en"))
        tokens = self.vocabulary.tokens
        return [(tokens(a), tokens(b)) for a, b in zip(german, english, strict=True)]


def rows(pairs: Sequence[Pair], width: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs as the network takes them `[n, 2, length]`, and the next token at each place `[n, length]`; as long as the
    longest needs, at least `width`."""
    width = max(width, *(max(len(a), len(b) + 1) for a, b in pairs))
    inputs, targets = (torch.full(shape, PADDING) for shape in ((len(pairs), 2, width), (len(pairs), width)))
    for row, (german, english) in enumerate(pairs):
        inputs[row, 0, : len(german)] = torch.tensor(german)
        inputs[row, 1, : len(english) + 1] = torch.tensor([START, *english])
        targets[row, : len(english) + 1] = torch.tensor([*english, END])
    return inputs, targets


def batches(pairs: Sequence[Pair], tokens: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of similar length together, about `tokens` a batch, in an order drawn anew."""
    jitter = torch.rand(len(pairs), generator=generator).tolist()
    lengths = [max(len(a), len(b) + 1) for a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda row: lengths[row] + 2 * jitter[row])
    groups: list[list[int]] = [[]]
    for row in order:
        if groups[-1] and (len(groups[-1]) + 1) * lengths[row] > tokens:
            groups.append([])
        groups[-1].append(row)
    for group in torch.randperm(len(groups), generator=generator).tolist():
        yield rows([pairs[row] for row in groups[group]])


def translation_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy a token, a scalar; `logits` `[n, length, vocabulary]`, `targets` `[n, length]`."""
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PADDING)


def train(
    folder: Path,
    pairs: Sequence[Pair],
    size: Size = Size(),
    schedule: Schedule = Schedule(),
    device: str = "cpu",
    stop: int | None = None,
) -> EditableNetwork:
    """The trained network, in eval mode. Each epoch is kept in `folder`, and taken up from there; `stop` ends it after
    that many."""
    torch.manual_seed(schedule.seed)
    network = wrapped(Writer(size)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), schedule.rate, betas=(0.9, 0.98))
    path, done = folder / "writer.pt", 0
    if path.exists():
        kept = torch.load(path, weights_only=True, map_location=device)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["epochs"]
    for epoch in range(done, stop or schedule.epochs):
        started, losses = time.process_time(), []
        generator = torch.Generator().manual_seed(1000 * schedule.seed + epoch)
        torch.manual_seed(1000 * schedule.seed + epoch)  # for dropout
        found = list(batches(pairs, schedule.tokens, generator))
        for step, (inputs, targets) in enumerate(found):
            place = (epoch * len(found) + step + 1) / len(found)  # in epochs
            rise = place * len(found) / schedule.warmup
            optimizer.param_groups[0]["lr"] = schedule.rate * min(rise, 1 - place / (schedule.epochs + 0.1))
            with torch.autocast(device, torch.bfloat16):
                logits = network.train()(inputs.to(device))
            loss = translation_loss(logits, targets.to(device))  # in bfloat16: half the time of float32
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        _keep(path, {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epoch + 1})
        mean, seconds = sum(losses) / len(losses), time.process_time() - started
        print(f"epoch {epoch + 1}: loss {mean:.3f}, {len(losses)} steps, {seconds:.0f} CPU seconds", flush=True)
    return network.eval()


def wrapped(writer: nn.Module) -> EditableNetwork:
    """The network as editors know it: one stage, whose outputs are logits of tokens."""
    return EditableNetwork(writer, nn.Identity(), Categorical())


def _keep(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)
