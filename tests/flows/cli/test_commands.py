"""verify, retract, reinstate, rollback, reproduce and releases as they are typed, on a folder and on S3."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from errata.data import layout
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.flows.cli.app import app, main
from errata.flows.cli.base import notes
from errata.flows.night.run import run_night
from errata.flows.workspace import Workspace
from tests.conftest import NewStore
from tests.flows.conftest import Place, copy_dvc_objects
from tests.flows.night.faults import full_disk
from tests.flows.releases.small import make_bundle, rewrite

Said = tuple[int, Any]
Errata = Callable[..., Said]


@pytest.fixture
def corrected(anywhere: Place) -> Place:
    """A place after a first night: release 2 is live, with three corrections."""
    anywhere.report_mistakes(3)
    assert run_night(anywhere.night()).version == 2
    return anywhere


@pytest.fixture
def errata(corrected: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    """Types a command; gives its exit code and what it printed: the JSON document, else what it said to people."""
    monkeypatch.setenv("ERRATA_WORKSPACE", str(corrected.workspace.folder))
    monkeypatch.setattr(notes, "width", 1000)  # no sentence is broken, however long a path is

    def typed(*words: str, store: str = corrected.storage.url) -> Said:
        monkeypatch.setattr(sys, "argv", ["errata", *words, "--store", store, "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = int(end.value.code or 0)
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out.startswith(("{", "[")) else said.out + said.err

    return typed


def in_force(place: Place) -> list[str]:
    """The live ledger's corrections."""
    found = read_live(place.storage)
    assert found is not None
    manifest = read_manifest(place.storage, found[0].version)
    return [
        each.id for each in Ledger.from_jsonl(read_file(place.storage, manifest, "ledger.jsonl").decode()).corrections
    ]


@pytest.mark.slow
def test_withdrawing_and_going_back(corrected: Place, errata: Errata) -> None:
    gone, *others = in_force(corrected)
    code, said = errata("retract", gone[:12], "--why", "a wrong label")
    assert (code, said["correction"], said["live"]) == (0, gone, 2)
    code, said = errata("correct")
    assert (code, said["outcome"], said["version"]) == (0, "released", 3)
    assert in_force(corrected) == others

    code, said = errata("rollback", "--why", "complaints")
    assert (code, said) == (0, {"live": 2, "left": 3, "dropped": [], "regained": []})
    assert in_force(corrected) == [gone, *others]
    code, said = errata("reinstate", gone, "--why", "it was right")
    assert (code, said["correction"]) == (0, gone)
    code, said = errata("correct")
    assert (code, said["outcome"]) == (0, "nothing to correct")

    code, said = errata("releases")
    assert code == 0
    assert [(each["version"], each["action"], each["why"].partition(";")[0]) for each in said] == [
        (1, "released", "a new root"),
        (2, "released", "3 new corrections, 0 retracted"),
        (2, "retracted", "a wrong label"),
        (3, "released", "0 new corrections, 1 retracted"),
        (2, "rolled back", "complaints"),
        (2, "reinstated", "it was right"),
    ]


def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    corrected: Place, errata: Errata, new_store: NewStore
) -> None:
    before = corrected.storage.read(layout.LIVE)
    for words, sentence in {
        ("retract", "zz", "--why", "a doubt"): "no correction in force in release 2 begins with 'zz'",
        ("reinstate", "zz", "--why", "a doubt"): "no correction retracted begins with 'zz'",
        ("rollback", "9", "--why", "a doubt"): "release 9 never was live",
        ("reproduce", "9"): "release 9 never was live",
        ("verify", "9"): "release 9 never was live",
    }.items():
        code, said = errata(*words)
        assert code == 1, words
        assert sentence in str(said).replace("\n", ""), words
        assert "not foreseen" not in str(said)
    for words in (("retract", "zz"), ("rollback",), ("reproduce", "two")):  # no reason given, or no number
        assert errata(*words)[0] == 2
    for words in (("verify",), ("rollback", "--why", "a doubt"), ("retract", "zz", "--why", "a doubt")):
        code, said = errata(*words, store=new_store().url)
        assert code == 1
        assert "there is no store at" in said
    assert corrected.storage.read(layout.LIVE) == before


def test_a_damaged_bundle_is_named_and_never_goes_live(corrected: Place, errata: Errata) -> None:
    assert errata("verify") == (0, {"version": 2, "problems": [], "removed": None})
    storage, damaged = corrected.storage, layout.release_file(1, "params.yaml")
    content = storage.get(damaged)
    storage.delete(damaged)
    assert errata("verify", "1") == (1, {"version": 1, "problems": ["missing: params.yaml"], "removed": None})
    storage.put_once(damaged, content + b" ")
    storage.put_once(layout.release_file(1, "more.bin"), b"?")
    assert errata("verify", "1") == (
        1,
        {"version": 1, "problems": ["extra: more.bin", "changed: params.yaml"], "removed": None},
    )
    code, said = errata("rollback", "1", "--why", "complaints")
    assert code == 1
    assert "changed: params.yaml" in said.replace("\n", " ")
    assert errata("verify") == (0, {"version": 2, "problems": [], "removed": None})
    code, said = errata("status")
    assert (code, said["live"]) == (0, 2)


def test_a_rewritten_older_release_is_not_whole(corrected: Place, errata: Errata) -> None:
    rewrite(corrected.storage, make_bundle(1))  # its files are those that its manifest names
    code, said = errata("verify", "1")
    assert (code, said["version"], len(said["problems"])) == (1, 1, 1)
    assert "releases/1/manifest.json: its SHA-256 is not the recorded" in said["problems"][0]


@pytest.mark.slow
def test_a_new_root_is_not_called_a_night(corrected: Place, errata: Errata) -> None:
    result = CliRunner().invoke(app, ["train", "--store", corrected.storage.url])
    assert result.exit_code == 0, result.output
    assert "A new root" in result.output
    assert "The night" not in result.output


def test_made_again(corrected: Place, errata: Errata, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, harm = Workspace.dvc, 0.0

    def dvc(workspace: Workspace, *words: str, **named: Any) -> None:
        if words[0] == "checkout":
            for name in ("splits", "root"):
                source = corrected.workspace.folder / "artifacts" / name
                shutil.copytree(source, workspace.folder / "artifacts" / name)
        solve(workspace, *words, **named)
        if words[0] == "repro" and harm:
            measured = json.loads(workspace.gate.read_text())
            measured["criteria"]["reach"]["value"] += harm
            workspace.gate.write_text(json.dumps(measured))

    monkeypatch.setattr(Workspace, "dvc", dvc)
    copy_dvc_objects(corrected, corrected.storage)
    code, said = errata("reproduce", "2", "--into", str(tmp_path / "again"))
    assert (code, said["outcome"], said["changed"]) == (0, "equal", [])
    code, said = errata("reproduce", "2", "--into", str(tmp_path / "again"))
    assert code == 1
    assert "is not empty" in said.replace("\n", "")
    harm = 0.005
    code, said = errata("reproduce", "2")
    assert (code, said["outcome"], said["distance"]) == (0, "within tolerance", pytest.approx(harm))
    code, said = errata("reproduce", "2", "--tolerance", "0.001")
    assert (code, said["outcome"]) == (1, "different")
    assert {"gate.json"} <= set(said["changed"])


@pytest.mark.slow
def test_a_full_disk_is_a_sentence(corrected: Place, errata: Errata) -> None:
    corrected.report_mistakes(4)
    with full_disk():
        code, said = errata("correct")
    assert code == 1
    assert "File too large; check the disk's space" in said.replace("\n", " ")
    assert "not foreseen" not in said


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_named(corrected: Place, errata: Errata) -> None:
    corrected.report_mistakes(4)
    (corrected.workspace.ledger / "ledger.jsonl").unlink()
    (corrected.workspace.ledger / "ledger.jsonl").mkdir()
    code, said = errata("correct")
    assert code == 1
    assert "artifacts/ledger/ledger.jsonl: Is a directory" in said.replace("\n", "")
    assert "not foreseen" not in said


@pytest.mark.slow
def test_the_gate_split_tells_how_often_it_was_looked_at(corrected: Place, errata: Errata) -> None:
    code, said = errata("control", "show")
    assert (code, said["looks"], said["images"]) == (0, 2, 350)  # the root's, and the night's
    assert said["spent"] == pytest.approx(2 / 12)
    assert {each["name"] for each in said["tolerances"]} >= {"negative_flips", "recall_drop"}
    assert [each["look"] for each in (errata("correct")[1],)] == [None]  # nothing to judge: no look
    assert errata("control", "show")[1]["looks"] == 2
    assert errata("control", "sealed") == (
        1,
        "Error: there is no sealed split; give it images in params.yaml: data.splits.sealed\n",
    )
    code, said = errata("control", "add", str(corrected.folder / "nowhere"))
    assert code == 1 and "nowhere" in said
