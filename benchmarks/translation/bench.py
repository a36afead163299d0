"""One edit of a translator at a time, each measured on sentences that it does not name: what BLEU loses, how many
translations change, and whether the edit holds for paraphrases and for other sentences with the same phrase."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.rows import add_line, kept_value, read_lines
from benchmarks.translation.demands import Demand, Phrases, paraphrases, sampled, words_of
from benchmarks.translation.model import END, LENGTH, PADDING, START, Corpus, read_side, rows
from benchmarks.translation.search import AT_ONCE, translations
from errata.editing.constraints.sequences import BeamSearch, SequenceConstraint, Tokens
from errata.editing.editors.sentences import CalibratedSentences
from errata.editing.networks.sentence_slots import SlottedNetwork
from errata.editing.types import EditorOf

SEARCH = BeamSearch(5, LENGTH, START, END, PADDING, growth=1.5)
TEST, VALIDATION = "test_2016_flickr", "val"
REFERENCE = 1000  # training pairs that editors know the root by
SHORT = 20  # tokens a side that pairs have less than where a Fisher matrix is estimated on them: long ones take long
CALIBRATION = 4000  # training pairs that slots are calibrated on, beside the validation pairs
PHRASES = 5  # other sentences with the same phrase that are asked for, at most
SEED = 11
AnyEditor = EditorOf[Any, SlottedNetwork, SequenceConstraint]


def bleu(said: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """BLEU of the corpus (0 to 100) and sacreBLEU's signature."""
    from sacrebleu.metrics.bleu import BLEU  # noqa: PLC0415, the extra `translation`

    metric = BLEU()
    score = float(metric.corpus_score(list(said), [list(references)]).score)
    return score, str(metric.get_signature().format())


def has_slots(network: SlottedNetwork) -> bool:
    """Whether any slot of it is filled."""
    return bool((network.patch.force > 0).any())


@dataclass(frozen=True)
class Trial:
    """What one edit did. `bleu` is its change on the `others` sentences that are measured, `changed` how many of them
    are translated otherwise; `paraphrases` and `phrases` are how many of how many generalize."""

    sentence: int
    success: bool
    steps: int
    seconds: float
    bleu: float
    changed: int
    others: int
    paraphrases: tuple[int, int]
    phrases: tuple[int, int]


@dataclass(frozen=True)
class Bench:
    """The sentences of one split, of which `measured` are translated again after every edit, how many `edits` a row is
    to have, and where finished work is kept; `finished`: that is read, and nothing is added."""

    corpus: Corpus
    cache: Path
    measured: int
    edits: int
    split: str = TEST
    finished: bool = False

    @cached_property
    def german(self) -> list[str]:
        return read_side(self.corpus.data, self.split, "de")

    @cached_property
    def english(self) -> list[str]:
        return read_side(self.corpus.data, self.split, "en")

    @cached_property
    def sources(self) -> list[list[int]]:
        return [self.corpus.vocabulary.tokens(one) for one in self.german]

    @cached_property
    def order(self) -> list[int]:
        """The sentences in an order drawn once; the first are measured, the last are edited."""
        return torch.randperm(len(self.german), generator=torch.Generator().manual_seed(SEED)).tolist()

    @cached_property
    def phrases(self) -> Phrases:
        return Phrases(*(read_side(self.corpus.data, "train", side) for side in ("de", "en")))

    def text(self, said: Sequence[Tokens]) -> list[str]:
        return [self.corpus.vocabulary.sentence(one) for one in said]


@dataclass(frozen=True)
class Subject:
    """A root, and what it says of all sentences of a split."""

    name: str
    bench: Bench
    root: SlottedNetwork
    states: dict[str, Any] = field(default_factory=dict)  # what editors prepared, by their settings

    @cached_property
    def said(self) -> list[Tokens]:
        path = self.bench.cache / f"{self.name}-{self.bench.split}.json"
        kept = kept_value(path, lambda: {"said": translations(self.root, self.bench.sources, SEARCH)})
        return [tuple(one) for one in kept["said"]]

    @cached_property
    def bleu(self) -> tuple[float, str]:
        """On the whole split, with the signature."""
        return bleu(self.bench.text(self.said), self.bench.english)

    @cached_property
    def summaries(self) -> Tensor:
        """What slots look at in each sentence `[n, width]`: no slot changes it."""
        with torch.no_grad():
            sources = rows([(one, []) for one in self.bench.sources])[0][:, 0].to(self.root.device)
            return torch.cat([self.root.summary(part) for part in sources.split(AT_ONCE)])

    def demands(self, kind: str) -> list[Demand]:
        """The edits of a row, of sentences that are not measured, none of which holds; of the kind `sample` or
        `reference`."""
        path = self.bench.cache / f"{self.name}-{self.bench.split}-{kind}-{self.bench.edits}.json"
        kept = kept_value(path, lambda: {"demands": [asdict(one) for one in self._drawn(kind)]})
        return [Demand(one["sentence"], tuple(one["wanted"])) for one in kept["demands"]]

    def _drawn(self, kind: str) -> list[Demand]:
        generator = torch.Generator().manual_seed(SEED)
        found: list[Demand] = []
        for row in reversed(self.bench.order[self.bench.measured :]):
            source, wanted = self.bench.sources[row], None
            if kind == "sample":
                wanted = sampled(self.root, source, SEARCH, generator)
            else:
                wanted = tuple(self.bench.corpus.vocabulary.tokens(self.bench.english[row]))
            fits = wanted and wanted != self.said[row] and len(wanted) < SEARCH.longest(len(source))
            if wanted and fits:
                found.append(Demand(row, wanted))
            if len(found) == self.bench.edits:
                break
        return found

    def constraint(self, demand: Demand) -> SequenceConstraint:
        source = torch.tensor(self.bench.sources[demand.sentence])
        return SequenceConstraint(source, torch.tensor(demand.wanted), SEARCH, str(demand.sentence))

    def prepared(self, editor: AnyEditor) -> Any:
        if repr(editor) in self.states:
            return self.states[repr(editor)]
        pairs = self.bench.corpus.training
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(SEED)).tolist()
        shuffled = [pairs[row] for row in order]
        cut = min(CALIBRATION, len(shuffled) // 2)
        reference = shuffled[cut:]
        if not isinstance(editor, CalibratedSentences):
            reference = [one for one in reference if max(map(len, one)) < SHORT]
        calibration = shuffled[:cut] + self.bench.corpus.pairs("val")
        state = editor.prepare(self.root, rows(reference[:REFERENCE])[0], rows(calibration)[0])
        return self.states.setdefault(repr(editor), state)

    def again(self, edited: SlottedNetwork, sentences: Sequence[int]) -> list[Tokens]:
        """What an edited network says for these sentences; where no slot fires it is what the root says."""
        sources = [self.bench.sources[row] for row in sentences]
        if not has_slots(edited):
            return translations(edited, sources, SEARCH)
        fires = edited.patch.fires(self.summaries[list(sentences)]).any(1).tolist()
        return [
            SEARCH.says(edited, torch.tensor(source)) if fire else self.said[row]
            for row, source, fire in zip(sentences, sources, fires, strict=True)
        ]

    def trial(self, editor: AnyEditor, state: Any, demand: Demand) -> Trial:
        """One edit, and what became of the measured sentences; of all others where slots say which can change."""
        started = time.process_time()
        result = editor.edit(self.root, [self.constraint(demand)], state)
        seconds = time.process_time() - started
        others = self.bench.order[: self.bench.measured]
        if isinstance(editor, CalibratedSentences):
            others = [row for row in self.bench.order if row != demand.sentence]
        before, after = [self.said[row] for row in others], self.again(result.model, others)
        change = 0.0
        if after != before:
            references = [self.bench.english[row] for row in others]
            old, new = (bleu(self.bench.text(one), references)[0] for one in (before, after))
            change = new - old
        return Trial(
            demand.sentence, result.success, result.steps, seconds, change,
            sum(a != b for a, b in zip(before, after, strict=True)), len(others),
            self._paraphrased(result.model, demand), self._phrased(result.model, demand),
        )  # fmt: skip

    def _paraphrased(self, edited: SlottedNetwork, demand: Demand) -> tuple[int, int]:
        tokens = self.bench.corpus.vocabulary.tokens
        sources = [tokens(one) for one in paraphrases(self.bench.german[demand.sentence])]
        if has_slots(edited):
            said = [SEARCH.says(edited, torch.tensor(one)) for one in sources]
        else:
            said = translations(edited, sources, SEARCH)
        return sum(one == demand.wanted for one in said), len(said)

    def _phrased(self, edited: SlottedNetwork, demand: Demand) -> tuple[int, int]:
        """Other sentences that want a word which this edit brought in, for the same German word, and lacked it:
        how many of them have it now."""
        own, bench = demand.sentence, self.bench
        before, wanted = bench.text([self.said[own], demand.wanted])
        found: list[tuple[int, str]] = []
        for word in sorted(words_of(wanted) - words_of(before)):
            german = bench.phrases.source_word(bench.german[own], word)
            for row in bench.order if german else []:
                asked = row != own and german in words_of(bench.german[row]) and word in words_of(bench.english[row])
                if asked and word not in words_of(bench.text([self.said[row]])[0]):
                    found.append((row, word))
        found = found[:PHRASES]
        said = bench.text(self.again(edited, [row for row, _ in found])) if found else []
        return sum(word in words_of(one) for (_, word), one in zip(found, said, strict=True)), len(found)

    def row(self, kind: str, name: str, editor: AnyEditor, count: int) -> list[Trial]:
        """The trials of one row, those that are kept read, the others made and kept (unless only what is finished is
        asked for)."""
        measured = self.bench.measured
        header = {"editor": repr(editor), "search": repr(SEARCH), "measured": measured, "root": f"{self.bleu[0]:.6f}"}
        path = self.bench.cache / "rows" / f"{self.name}-{self.bench.split}-{kind}-{name.replace(' ', '_')}.jsonl"
        trials = [Trial(**one) for one in read_lines(path, header)]
        if len(trials) < count and not self.bench.finished:
            state = self.prepared(editor)
            for demand in self.demands(kind)[len(trials) : count]:
                trials.append(self.trial(editor, state, demand))
                add_line(path, header, trials[-1])
        return trials[:count]
