"""The translator's benchmark: its search for many sentences is the editors', its trainings are stopped and resumed, its
BLEU is sacreBLEU's, and the whole of it runs."""

import copy
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.translation import __main__ as translation
from benchmarks.translation.bench import SEARCH, bleu
from benchmarks.translation.demands import Phrases, paraphrases, sampled
from benchmarks.translation.editable import Further, train_further
from benchmarks.translation.model import Pair, Schedule, Size, Vocabulary, Writer, rows, train, wrapped
from benchmarks.translation.search import translations

SIZE = Size(vocabulary=40, width=16, inner=32, heads=2)


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Sentences of three to seven words, each translated by its words plus twenty, in order."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 8, (count,), generator=generator).tolist()
    sources = [torch.randint(4, 20, (length,), generator=generator).tolist() for length in lengths]
    return [(source, [token + 20 for token in source]) for source in sources]


def test_many_sentences_are_translated_as_each_alone() -> None:
    torch.manual_seed(0)
    network = wrapped(Writer(SIZE)).eval()
    sources = [source for source, _ in pairs(12)]
    expected = [SEARCH.says(network, torch.tensor(source)) for source in sources]
    assert translations(network, sources, SEARCH) == expected and len(set(expected)) > 6


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    writer = Writer(SIZE)
    network = wrapped(writer).eval()
    short, long = rows(pairs(1))[0], rows(pairs(1), 20)[0]
    with torch.no_grad():
        torch.testing.assert_close(network(long)[:, : short.shape[2]], network(short))
        torch.testing.assert_close(writer.summary(long[:, 0]), writer.summary(short[:, 0]))


def test_training_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    data, schedule = pairs(60), Schedule(epochs=2, tokens=100, warmup=5)
    straight = train(tmp_path / "straight", data, SIZE, schedule)
    train(tmp_path / "stopped", data, SIZE, schedule, stop=1)
    resumed = train(tmp_path / "stopped", data, SIZE, schedule)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_editable_training_learns_its_rule_and_its_control_does_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = wrapped(Writer(SIZE)).eval()
    further = Further(True, "decoder.1", batches=2, tokens=60, edit_steps=2)
    found = [copy.deepcopy(network) for _ in range(3)]
    learned = train_further(tmp_path / "edits.pt", found[0], pairs(40), SEARCH, further)
    again = train_further(tmp_path / "edits.pt", found[1], pairs(40), SEARCH, further)  # finished: read
    control = train_further(tmp_path / "control.pt", found[2], pairs(40), SEARCH, Further(False, "decoder.1", 2, 60))
    assert learned == again != control and control.learning_rate == pytest.approx(1e-3)
    states = [one.state_dict() for one in found]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())


class Always(nn.Module):
    """Says the end with a score of 2, and two words with one of 0, whatever was written."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([9.0, 9.0, 2.0, 0.0, 0.0]))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.scores.expand(len(rows), rows.shape[2], 5)


def test_a_sample_is_drawn_at_its_temperature() -> None:
    generator, network = torch.Generator().manual_seed(0), wrapped(Always())
    drawn = [sampled(network, [3], replace(SEARCH, slack=0), generator) for _ in range(3000)]
    assert set(drawn) == {(), None}  # one token: it ended, or did not end in time
    expected = math.exp(2 / 1.2) / (math.exp(2 / 1.2) + 2)
    assert abs(drawn.count(()) / 3000 - expected) < 4 * (expected * (1 - expected) / 3000) ** 0.5


def test_paraphrases_and_phrases() -> None:
    found = list(paraphrases("Ein Mann läuft auf der Straße."))
    assert found[:2] == ["Ein Mann läuft auf der Straße", "Ein Mann laeuft auf der Strasse."]
    assert "Ein Herr läuft auf der Straße." in found and len(found) == 4
    phrases = Phrases(["Ein Hund läuft", "Ein Hund schläft", "Ein Mann"], ["A dog runs", "A dog sleeps", "A man"])
    assert phrases.source_word("Der Hund ist da", "dog") == "hund"
    assert phrases.source_word("Der Mann ist da", "dog") is None


def test_bleu_is_what_the_command_line_of_sacrebleu_says(tmp_path: Path) -> None:
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    said = ["A man is walking down the street .", "Two dogs play in the snow.", "A girl sings"]
    references = ["A man walks down the street.", "Two dogs are playing in the snow.", "A girl is singing a song."]
    for name, lines in (("said", said), ("references", references)):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    words = [sys.executable, "-m", "sacrebleu", "references", "-i", "said", "-b", "-w", "6"]
    score, signature = bleu(said, references)
    printed = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert float(printed) == pytest.approx(score, abs=1e-6) and 0 < score < 100
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.slow
def test_the_benchmark_runs_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sacrebleu", reason="the extra `translation` is not installed")
    pytest.importorskip("sentencepiece", reason="the extra `translation` is not installed")
    monkeypatch.setattr(translation, "FACTORS", (1.0,))
    monkeypatch.setattr(translation, "TUNING", 1)
    monkeypatch.setattr(translation, "TUNED_ON", 5)
    nouns = {"Hund": "dog", "Mann": "man", "Kind": "child", "Ball": "ball", "Haus": "house", "Junge": "boy"}
    verbs = {"sieht": "sees", "sucht": "seeks", "malt": "paints", "holt": "fetches", "kennt": "knows"}
    lines = [
        (f"Der {a} {v} den {b}.", f"The {nouns[a]} {verbs[v]} the {nouns[b]}.")
        for a in nouns
        for v in verbs
        for b in nouns
    ]
    for split, part in (("train", lines * 3), ("val", lines[::9]), ("test_2016_flickr", lines[::5])):
        for side, language in enumerate(("de", "en")):
            (tmp_path / f"{split}.{language}").write_text("\n".join(one[side] for one in part) + "\n")
    Vocabulary(tmp_path / "cache" / "pieces.model", [word for line in lines for word in line], 50)
    words = ["--root", str(tmp_path), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out")]
    words += ["--edits", "1", "--measured", "5", "--epochs", "1", "--batches", "1"]
    translation.main(words)
    page = (tmp_path / "out" / "translation.md").read_text()
    assert page.count("| plain: ") == 2 * 12 and page.count("| editable: ") == 2 * 3 and "calibrated slot" in page
    kept = {path: path.read_bytes() for path in (tmp_path / "cache" / "rows").iterdir()}
    translation.main(words)
    assert (tmp_path / "out" / "translation.md").read_text() == page
    assert kept == {path: path.read_bytes() for path in (tmp_path / "cache" / "rows").iterdir()}
    gone = [path for path in kept if "adam" in path.name]
    for path in gone:
        path.unlink()
    translation.main([*words, "--finished"])
    rest = [line for line in page.splitlines() if "| plain: adam |" not in line]
    assert len(gone) == 3 and (tmp_path / "out" / "translation.md").read_text().splitlines() == rest
    assert set(kept) - set(gone) == set((tmp_path / "cache" / "rows").iterdir())
