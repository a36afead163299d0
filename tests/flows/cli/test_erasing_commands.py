"""`errata erase` and `errata prune`, as a person types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from errata.data import layout
from errata.data.releases.erasure import erasures
from errata.flows.cli.app import app
from errata.flows.night.run import run_night
from errata.flows.workspace import WORKSPACE
from tests.flows.conftest import Place, make_workspace
from tests.flows.releases.small import release
from tests.flows.releases.test_prune import weighty


def errata(place: Place, *words: str, code: int = 0) -> str:
    """What a command says on a wide terminal."""
    environment = {WORKSPACE: str(place.workspace.folder), "ERRATA_STORE": place.storage.url, "COLUMNS": "200"}
    result = CliRunner().invoke(app, list(words), env=environment)
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout


def test_a_photo_is_erased_from_the_command_line(quick: Place) -> None:
    gone = quick.report_mistakes(2)[0]
    run_night(quick.night())
    before = sorted(quick.storage.keys(""))
    said = errata(quick, "erase", gone.image[:12], "--why", "they asked")
    assert "nothing is changed yet" in said
    assert "release 2 holds it" in said
    assert sorted(quick.storage.keys("")) == before
    plan = json.loads(errata(quick, "erase", gone.id, "--why", "they asked", "--json"))
    assert (plan["asked"], plan["holding"], plan["erasure"]["images"]) == (False, [2], [gone.image])
    photo = quick.folder / "photo.png"
    photo.write_bytes(quick.storage.get(layout.image(gone.image)))
    said = errata(quick, "erase", "--image", str(photo), "--why", "they asked", "--yes")
    assert "erased, and live is release 3; the proof is erased/00000001/asked.json" in said
    [erasure] = erasures(quick.storage)
    assert erasure.why == "they asked"
    assert "release 2 was erased on" in errata(quick, "verify", "2")
    assert json.loads(errata(quick, "verify", "2", "--json"))["removed"]["cause"] == "erased"
    assert "release 3 is whole" in errata(quick, "verify")
    assert json.loads(errata(quick, "status", "--json"))["open_erasures"] == []
    quick.storage.delete(layout.erasure_done(1))
    assert json.loads(errata(quick, "status", "--json"))["open_erasures"] == ["00000001"]
    assert "Release 2" in errata(quick, "show", "2")
    assert "erased" in errata(quick, "releases")
    errata(quick, "report", str(photo), "--expected", "7", code=1)
    errata(quick, "erase", "--why", "x", code=2)


def test_old_releases_leave_from_the_command_line(tmp_path: Path) -> None:
    place = Place(tmp_path)
    make_workspace(place.workspace.folder)
    for version in range(1, 6):
        release(place.storage, weighty(version))
    before = set(place.storage.keys(""))
    assert json.loads(errata(place, "prune", "--json"))["releases"] == []  # by the retention in params.yaml
    assert "nothing to remove: nothing in the store is beyond" in errata(place, "prune")
    plan = json.loads(errata(place, "prune", "--keep", "2", "--older-than", "0", "--json"))
    assert (plan["done"], plan["releases"], plan["bytes"]) == (False, [2, 3], sum(plan["files"].values()))
    assert "nothing is changed yet" in errata(place, "prune", "--keep", "2", "--older-than", "0")
    assert set(place.storage.keys("")) == before
    assert "releases 2, 3" in errata(place, "prune", "--keep", "2", "--older-than", "0", "--yes")
    assert before - set(place.storage.keys("")) == set(plan["files"])
    assert "release 2 was pruned on" in errata(place, "verify", "2")
    assert "release 4 is whole" in errata(place, "verify", "4")


@pytest.mark.parametrize("words", [("erase", "x"), ("erase", "x", "--why", " ")])
def test_an_erasure_needs_a_reason(tmp_path: Path, words: tuple[str, ...]) -> None:
    errata(Place(tmp_path), *words, code=2)
