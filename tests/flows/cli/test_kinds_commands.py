"""`errata kinds`, as a person types it: questions answered, kinds split and merged."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from errata.data.images import pixel_digest
from errata.data.releases.edit_record import EditRecord, KindRecord
from errata.data.releases.kind_inputs import stored_inputs
from errata.data.releases.manifest import FileEntry, sha256
from errata.data.releases.questions import Question, keep_question
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.flows.cli.app import app
from errata.flows.releases.contents.bundle import Bundle, publish
from tests.serving.releases import IMAGES, bundle, point_at


def kind(name: str, fitted: str, *, concept: bool = False) -> KindRecord:
    keys = tuple(each.ljust(64, "0") for each in fitted)
    return KindRecord(name, -1, keys, (), 0, 0.0, 0.0, 0, 0.0, 0.0, "it mends too few", concept=concept)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """A store whose live release found two kinds of image, of the corrections a to c and d to f, and one of concept."""
    store, made = LocalStorage(tmp_path / "store"), bundle(1)
    record = EditRecord(
        True, 1, "", {}, kinds=(kind("snow", "abc"), kind("ice", "def"), kind("sledges", "789", concept=True))
    ).to_json()
    entries = {**made.manifest.files, "edit.json": FileEntry(sha256(record), len(record))}
    made = Bundle(replace(made.manifest, files=entries), {**made.files, "edit.json": record})
    publish(store, made)
    point_at(store, made.manifest)
    return store


def run(storage: Storage, *words: str) -> str:
    done = CliRunner().invoke(app, ["kinds", *words, "--store", storage.url], env={"COLUMNS": "200"})
    return done.output if done.exit_code == 0 else f"refused: {done.output}{done.exception}"


def test_questions_are_listed_shown_and_answered(storage: Storage, tmp_path: Path) -> None:
    assert "nothing to ask" in run(storage, "ask")
    names = [pixel_digest(image) for image in IMAGES[:2]]
    for name, image in zip(names, IMAGES, strict=False):
        keep_question(storage, Question(name, "1", "2", "<snow>"), np.asarray(image))
    assert {each["image"] for each in json.loads(run(storage, "ask", "--json"))} == set(names)
    page = tmp_path / "questions.html"
    assert names[0][:12] in run(storage, "ask", "--page", str(page))
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 2 and "&lt;snow&gt;" in html and "<snow>" not in html
    assert f"errata kinds answer {names[0][:12]}" in html
    assert 'class="cards sharp"' in html, "few pixels are shown as squares"
    assert "is 2" in run(storage, "answer", names[0][:12], "new", "--by", "anna")
    assert "neither 1 nor 2" in run(storage, "answer", names[1][:12], "neither")
    labels = {each.id: (each.expected, each.reports) for each in stored_inputs(storage).labelled.corrections}
    assert labels[names[0]] == ("2", ("anna",)) and labels[names[1]][0] == ""
    assert "nothing to ask" in run(storage, "ask")
    assert "refused" in run(storage, "answer", names[0][:12], "old")


def test_kinds_are_split_and_merged_by_a_record(storage: Storage) -> None:
    run(storage, "split", "snow", "b", "c", "--why", "another camera")
    run(storage, "merge", "snow", "ice", "--name", "winter", "--why", "the same camera")
    split, merged = stored_inputs(storage).decisions
    assert split.action == "split"
    assert ([each[0] for each in split.members], [each[0] for each in split.others]) == (["b", "c"], ["a"])
    assert (merged.action, merged.name, [each[0] for each in merged.members]) == ("merged", "winter", list("abcdef"))


@pytest.mark.parametrize(
    "words",
    [
        ("merge", "snow"),
        ("merge", "snow", "rain"),
        ("merge", "snow", "sledges"),
        ("split", "snow", "d"),
        ("split", "snow", "a", "b", "c"),
        ("split", "rain", "a"),
        ("merge", "snow", "ice", "--name", "\n"),
    ],
)
def test_what_makes_no_sense_is_refused(storage: Storage, words: tuple[str, ...]) -> None:
    assert run(storage, *words, "--why", "because").startswith("refused")
    assert stored_inputs(storage).decisions == ()
