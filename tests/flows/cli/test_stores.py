"""The store that a command is given: one that is not there is refused, and only a first release makes one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from errata.data import layout
from errata.data.images import encode_png
from errata.data.reports import file_report
from errata.data.storage import Storage, open_storage
from errata.editing.errors import StoreUnusable
from errata.flows.cli.app import app
from errata.flows.stages.progress import Teller, progress_file
from errata.flows.workspace import Workspace, open_store, operator
from tests.conftest import NewStore
from tests.flows.conftest import REPOSITORY, Place

COMMANDS = (
    ("status",),
    ("releases",),
    ("verify",),
    ("show",),
    ("page",),
    ("correct",),
    ("quarantine",),
    ("requeue", "a"),
    ("rollback", "--why", "doubt"),
    ("retract", "a", "--why", "doubt"),
    ("reinstate", "a", "--why", "doubt"),
    ("report", __file__, "--expected", "7"),
    ("reproduce", "1"),
)


def said(*words: str) -> tuple[object, str]:
    """The fault that a command ends with, and what it printed."""
    result = CliRunner().invoke(app, list(words))
    return result.exception, result.output


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_mistyped_folder_is_refused_and_not_made(words: tuple[str, ...], tmp_path: Path) -> None:
    mistyped = tmp_path / "stroe"
    fault, _ = said(*words, "--store", str(mistyped))
    assert isinstance(fault, StoreUnusable)
    assert f"there is no store at {mistyped}; correct --store or ERRATA_STORE" in str(fault)
    assert fault.exit_code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [each if each[0] == "show" else pytest.param(each, marks=pytest.mark.slow) for each in COMMANDS],
    ids=lambda words: words[0],
)
def test_a_mistyped_prefix_is_refused(words: tuple[str, ...], mock_s3: object) -> None:
    fault, _ = said(*words, "--store", "s3://mock/mistyped")
    if words == ("correct",):  # its own steps ask, and wait where S3 is away
        assert "nothing is released yet in s3://mock/mistyped" in str(fault)
    else:
        assert isinstance(fault, StoreUnusable)
        assert "there is no store at s3://mock/mistyped" in str(fault)
    assert list(open_storage("s3://mock/mistyped").keys("")) == []


def test_an_empty_folder_waits_for_its_first_release(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "--store", str(tmp_path), "--json"])
    assert (result.exit_code, json.loads(result.stdout)["live"]) == (0, None)


def test_a_store_with_reports_alone_is_one(new_store: NewStore) -> None:
    storage = new_store()
    file_report(storage, png(), "7")
    storage.put_once(f"{layout.BULK}monday/7.png", png())
    storage.put_once(f"{layout.BULK}monday/reports.jsonl", b"{}\n")
    result = CliRunner().invoke(app, ["status", "--store", storage.url, "--json"])
    assert (result.exit_code, json.loads(result.stdout)["waiting"]) == (0, 2)


def test_what_is_at_work_in_the_workspace_is_told_while_its_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ERRATA_WORKSPACE", str(tmp_path))
    said = list[str]()
    path = progress_file(Workspace(tmp_path))
    Teller(path, "train", said.append).tell("epoch", 3, 30, "loss 0.5")

    def status(*words: str) -> str:
        return CliRunner().invoke(app, ["status", "--store", str(tmp_path), *words]).stdout

    assert json.loads(status("--json"))["running"] == said[0]
    assert "running" in status() and "epoch 3 of 30" in status()
    gone = json.loads(path.read_bytes()) | {"process": 2**22 + 1}  # more than Linux gives out
    path.write_text(json.dumps(gone))
    assert "running" not in json.loads(status("--json"))


def test_a_first_release_makes_its_store(tmp_path: Path) -> None:
    open_store(str(tmp_path / "new"), create=True).probe()
    assert open_store(str(tmp_path / "new")).url == str(tmp_path / "new")


def png() -> bytes:
    """An image as somebody would send it."""
    return encode_png(np.zeros((8, 8, 1), np.uint8))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(png())
    return path


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--expected", "cat"), "no class 'cat'. It knows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (("--expected", "77"), "no class '77'; did you mean '7'?"),
        (("--expected", "7", "--predicted", "l"), "no class 'l'"),
        (("--expected", ""), "no class ''"),
    ],
)
def test_a_class_that_the_model_has_not_is_refused(
    anywhere: Place, photo: Path, options: tuple[str, ...], sentence: str
) -> None:
    fault, _ = said("report", str(photo), *options, "--store", anywhere.storage.url)
    assert sentence in str(fault)
    assert list(anywhere.storage.keys(layout.INBOX)) == list(anywhere.storage.keys(layout.IMAGES)) == []


def test_a_class_that_it_has_is_taken(anywhere: Place, photo: Path) -> None:
    words = ("report", str(photo), "--expected", "7", "--predicted", "1", "--store", anywhere.storage.url)
    fault, output = said(*words)
    assert fault is None
    assert "should be 7" in output
    assert len(list(anywhere.storage.keys(layout.INBOX))) == 1


def test_before_a_first_release_any_class_is_taken_with_a_note(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    fault, output = said("report", str(photo), "--expected", "cat", "--store", str(tmp_path / "store"))
    assert fault is None
    assert "nothing released yet says which classes there are" in output


@pytest.mark.parametrize("why", ["", "  ", "\t"])
@pytest.mark.parametrize("words", [("rollback",), ("retract", "a"), ("reinstate", "a")], ids=lambda words: words[0])
def test_a_blank_reason_is_wrong_usage(words: tuple[str, ...], why: str, storage: Storage) -> None:
    result = CliRunner().invoke(app, [*words, "--why", why, "--store", storage.url])
    assert result.exit_code == 2
    assert "it is blank" in result.output


@pytest.mark.parametrize("fault", [OSError, KeyError, ImportError])
def test_a_user_without_a_name_may_act(fault: type[Exception]) -> None:
    def nobody() -> str:
        raise fault("no name for this user")

    assert operator(nobody) == "errata"
    assert operator(lambda: "ada") == "ada"


SLOW = ("torch", "numpy", "boto3", "botocore", "onnx", "onnxruntime", "pandas", "PIL", "prefect", "great_expectations")
COUNT = f"""
import sys
from errata.flows.cli.entry import main
sys.argv = ["errata", *sys.argv[1:]]
try:
    main()
finally:
    print("imported:", *(name for name in {SLOW} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("words", [("status",), ("releases",), ("--help",)], ids=lambda words: words[0])
def test_what_is_looked_up_is_looked_up_without_what_a_night_needs(place: Place, words: tuple[str, ...]) -> None:
    store = () if words == ("--help",) else ("--store", str(place.folder / "store"))

    done = subprocess.run(
        [sys.executable, "-c", COUNT, *words, *store], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines()[-1] == "imported:"
