"""What the edits of a translation are to say: a sample as in the paper, or the reference where the network errs; and
the sentences on which such an edit may generalize."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from benchmarks.translation.model import PADDING, START
from errata.editing.constraints.sequences import BeamSearch, Tokens
from errata.editing.network import EditableNetwork

TEMPERATURE = 1.2  # of the sampled sentences, as in the paper
SPELLINGS = {"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
SYNONYMS = {
    "Mann": "Herr", "Männer": "Herren", "Frau": "Dame", "Frauen": "Damen", "Personen": "Menschen", "Leute": "Menschen",
    "Menschen": "Leute", "läuft": "rennt", "rennt": "läuft", "geht": "läuft", "schaut": "blickt", "Fahrrad": "Rad",
    "Fahrräder": "Räder", "großer": "riesiger", "große": "riesige", "Junge": "Bub", "Gehweg": "Bürgersteig",
}  # fmt: skip
_FACTOR = 0.4  # Dice's coefficient from which on a German and an English word count as translations of each other


@dataclass(frozen=True)
class Demand:
    """One edit to try: for sentence number `sentence` the network is to write `wanted`."""

    sentence: int
    wanted: Tokens


@torch.no_grad()
def sampled(
    network: EditableNetwork, source: Sequence[int], search: BeamSearch, generator: torch.Generator
) -> Tokens | None:
    """A sentence drawn token by token at TEMPERATURE; None if it does not end in time."""
    written: Tokens = ()
    for _ in range(search.longest(len(source))):
        pairs = search.pairs(torch.tensor(source, device=network.device), [written])
        scores = network(pairs)[0, len(written)].float().cpu() / TEMPERATURE
        scores[[PADDING, START]] = -torch.inf
        token = int(torch.multinomial(scores.softmax(0), 1, generator=generator))
        if token == search.end:
            return written
        written = (*written, token)
    return None


def paraphrases(sentence: str) -> Iterator[str]:
    """The sentence without its full stop, typed without umlauts, and with each word that has a synonym replaced."""
    bare = sentence.removesuffix(".").rstrip()
    plain = "".join(SPELLINGS.get(letter, letter) for letter in sentence)
    words = sentence.split()
    replaced = [
        " ".join([*words[:place], SYNONYMS[word], *words[place + 1 :]])
        for place, word in enumerate(words)
        if word in SYNONYMS
    ]
    yield from dict.fromkeys(one for one in (bare, plain, *replaced) if one != sentence)


def words_of(sentence: str) -> set[str]:
    """The words of a sentence without signs, in small letters."""
    return {word.strip(".,;:!?\"'()").lower() for word in sentence.split()} - {""}


@dataclass(frozen=True)
class Phrases:
    """Which German word of a sentence an English one translates, by how often the two occur together in training."""

    german: Sequence[str]
    english: Sequence[str]

    @cached_property
    def _where(self) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
        found: tuple[dict[str, set[int]], dict[str, set[int]]] = ({}, {})
        for side, sentences in zip(found, (self.german, self.english), strict=True):
            for number, sentence in enumerate(sentences):
                for word in words_of(sentence):
                    side.setdefault(word, set()).add(number)
        return found

    def source_word(self, source: str, word: str) -> str | None:
        """The word of `source` that `word` most likely translates, if it does."""
        german, english = self._where
        there = english.get(word, set())
        dice = {
            one: 2 * len(there & german[one]) / (len(there) + len(german[one]))
            for one in words_of(source)
            if one in german
        }
        best = max(sorted(dice), key=dice.__getitem__, default=None)
        return best if best is not None and dice[best] >= _FACTOR else None
