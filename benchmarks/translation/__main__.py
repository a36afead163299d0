"""`python -m benchmarks.translation --root FOLDER`: edits of a translator, German to English, on Multi30k.

FOLDER holds `train`, `val` and `test_2016_flickr` in `de` and `en`, one sentence a line, as .gz or not. The network is
trained first, then by Editable Training and by as many plain steps; every epoch and every finished edit is kept in the
cache folder: stop it at any time and start it again. Needs the extra `translation`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.translation.bench import REFERENCE, SEARCH, VALIDATION, AnyEditor, Bench, Subject
from benchmarks.translation.editable import Further, learned_rule, train_further
from benchmarks.translation.model import LENGTH, Corpus, Schedule, Size, train
from benchmarks.translation.page import KINDS, Row, write_page
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.sentences import CalibratedSentences
from errata.editing.network import EditableNetwork
from errata.editing.networks.sentence_slots import SlottedNetwork
from errata.editing.rules import RULES
from errata.editing.scopes import Scope

LAST, BEFORE, EMBEDDINGS = "decoder.1", "decoder.0", "tokens"
STEPS = 10  # of an edit at most: the paper's k
USUAL = {
    "gd": 0.3, "scaled_gd": 0.1, "polyak": 4.0, "natural_rule": 4.0, "rprop": 1e-3, "rmsprop": 1e-3, "momentum": 0.1,
    "adam": 1e-3,
}  # fmt: skip
FACTORS = (0.3, 1.0, 3.0)  # the rates that are tried, as shares of the usual one
TUNING, TUNED_ON = 4, 40  # validation edits, and validation sentences that each is measured on
ON_PLAIN = ("polyak", "adam", "momentum", "gd", "scaled_gd", "rprop")  # on the last decoder layer


def by_rule(name: str, scope: str) -> Callable[[float], AnyEditor]:
    """The gradient editor, once it has a rate."""
    rules = {**RULES, "natural_rule": partial(NaturalRule, images=REFERENCE)}
    return lambda rate: GradientEditor(rules[name](rate), Scope(scope), STEPS)  # type: ignore[operator]


def best_rate(subject: Subject, name: str, scope: str) -> float | None:
    """Of the rates tried, of those that succeed most often on validation samples, the one that changes fewest other
    translations; None if they are not tried yet and nothing new is to be made."""
    bench = replace(subject.bench, split=VALIDATION, measured=TUNED_ON, edits=TUNING)
    tuning, scores = Subject(subject.name, bench, subject.root), dict[float, tuple[int, int]]()
    for factor in FACTORS:
        rate = USUAL[name] * factor
        found = tuning.row("sample", f"{name} {scope} {rate:g}", by_rule(name, scope)(rate), TUNING)
        if len(found) < TUNING:
            return None
        scores[rate] = sum(one.success for one in found), -sum(one.changed for one in found)
    return max(scores, key=scores.__getitem__)


def slotted(network: EditableNetwork, size: Size) -> SlottedNetwork:
    """A copy with room for slots."""
    return SlottedNetwork(copy.deepcopy(network.backbone), 8, size.width, LENGTH).eval()


def roots(bench: Bench, size: Size, schedule: Schedule, batches: int, device: str) -> tuple[dict[str, Subject], Any]:
    """The plain network, the one of Editable Training and its control; and the rule that was learned."""
    pairs = bench.corpus.training
    network = train(bench.cache, pairs, size, schedule, device)
    found = {"plain": Subject("plain", bench, slotted(network, size))}
    rule = None
    for name, edits in (("editable", True), ("control", False)) if batches else ():
        further, path = copy.deepcopy(network), bench.cache / f"{name}.pt"
        learned = train_further(path, further, pairs, SEARCH, Further(edits, LAST, batches))
        rule = learned_rule(path.with_suffix(".json"), learned) if edits else rule
        found[name] = Subject(name, bench, slotted(further, size))
    return found, rule


def editors(subjects: dict[str, Subject], rule: Any) -> Iterator[tuple[Subject, str, str, AnyEditor]]:
    """Root, name, settings and editor of each row, the most telling first."""
    plain = subjects["plain"]
    yield plain, "calibrated slot", "beside the decoder", CalibratedSentences()
    wanted = [(one, "rmsprop", LAST) for one in subjects.values()]
    wanted += [(one, "natural_rule", LAST) for one in subjects.values()]
    wanted += [(plain, "rmsprop", BEFORE), (plain, "rmsprop", EMBEDDINGS)]
    wanted += [(plain, name, LAST) for name in ON_PLAIN]
    if rule is not None:
        settings = f"{LAST}, rate {rule.learning_rate:.2g} and decay {rule.beta:.2g}"
        yield subjects["editable"], "learned rmsprop", settings, GradientEditor(rule, Scope(LAST), STEPS)
    for subject, name, scope in wanted:
        rate = best_rate(subject, name, scope)
        if rate is not None:
            yield subject, name.replace("_", " "), f"{scope}, rate {rate:g}", by_rule(name, scope)(rate)
    natural = NaturalGradient(Scope(LAST), margin=0.01, steps=STEPS, images=REFERENCE)
    yield plain, "natural gradient", LAST, natural


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.translation", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the folder of Multi30k")
    parser.add_argument("--cache", type=Path, default=Path("artifacts/benchmarks/translation"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--edits", type=int, default=100, help="a row and table")
    parser.add_argument("--measured", type=int, default=100, help="test sentences translated again after every edit")
    parser.add_argument("--epochs", type=int, default=Schedule.epochs)
    parser.add_argument("--batches", type=int, default=Further.batches, help="of Editable Training; 0: leave it out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--finished", action="store_true", help="write the page of what is finished, make nothing new")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    command = f"python -m benchmarks.translation --root FOLDER --edits {chosen.edits} --measured {chosen.measured}"
    command += f" --epochs {chosen.epochs} --batches {chosen.batches}"
    corpus = Corpus(chosen.root, chosen.cache / "pieces.model")
    bench = Bench(corpus, chosen.cache, chosen.measured, chosen.edits, finished=chosen.finished)
    subjects, rule = roots(
        bench, Size(bench.corpus.vocabulary.size), Schedule(chosen.epochs), chosen.batches, chosen.device
    )
    for subject in subjects.values():
        print(f"{subject.name}: BLEU {subject.bleu[0]:.2f} ({subject.bleu[1]})", flush=True)
    done: list[Row] = []
    for subject, name, settings, editor in editors(subjects, rule):
        full = f"{name} {settings.partition(',')[0]}"
        trials = {kind: subject.row(kind, full, editor, chosen.edits) for kind in KINDS}
        row = Row(f"{subject.name}: {name}", settings, {kind: found for kind, found in trials.items() if found})
        if row.trials:
            done.append(row)
            for kind in row.trials:
                print(kind, *row.cells(kind), sep=" | ", flush=True)
            write_page(chosen.out, head_of(subjects, chosen), done, command, chosen.device)


def head_of(subjects: dict[str, Subject], chosen: Any) -> str:
    """What was measured, for docs/results/translation.md."""
    scores = ", ".join(f"{name} {one.bleu[0]:.2f}" for name, one in subjects.items())
    plain = subjects["plain"]
    size, signature = Size(plain.bench.corpus.vocabulary.size), plain.bleu[1]
    return f"""# Edits of a translator

Multi30k, German to English: 29,000 pairs to train on, the 1,014 of `val` to choose rates on, the 1,000 of
`test_2016_flickr` to edit and to measure. `plain`: a Transformer of {size.layers} + {size.layers} layers, width
{size.width}, {size.vocabulary} pieces, trained for {chosen.epochs} epochs; `editable`: that network after
{chosen.batches} more batches with the objective of Editable Training, `control` after as many without it. BLEU on the
whole test set at beam {SEARCH.beam}: {scores} (sacreBLEU, `{signature}`).

One sentence is edited at a time, always from the root; only demands that do not hold yet are edited, at most {STEPS}
steps. An edit succeeds if beam search then says the wanted sentence. A row has as many edits as its column says: up to
{chosen.edits}, fewer where the run was stopped; all rows of a root take the same ones in the same order. *BLEU
drawdown* and *others changed* (translations that are not the same) are of {chosen.measured} fixed test sentences that
no edit names; for the calibrated slot of all other test sentences, since where it does not fire the translation is the
root's bit for bit. *Paraphrases*: the edited sentence without its full stop, typed without umlauts or with a synonym,
of which the network says the wanted sentence. *Same phrase*: other test sentences with the same German word whose
reference has the English word that the edit brought in, and which lacked it: how many have it now (a slot knows its own
sentence alone). In brackets 95% intervals: exact for success, else bootstrap over edits. Rates are the best of
{", ".join(f"{one:g}" for one in FACTORS)} times a usual one on {TUNING} validation samples.

"""


if __name__ == "__main__":
    main()
