"""A release is a function of root, ledger and parameters: made again from its bundle, every digest is the same."""

import json
import math
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.editing.errors import NightError
from errata.flows.gate.criterion import Criterion
from errata.flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from errata.flows.night.new_root import train_new_root
from errata.flows.night.run import run_night
from errata.flows.releases.contents.provenance import code_digest, libraries
from errata.flows.releases.lineage import trace
from errata.flows.releases.reproduce import Reproduction, gate_distance, reproduce
from errata.flows.workspace import Workspace
from tests.flows.conftest import Place, make_workspace


def silent(_line: str) -> None:
    """No log."""


@pytest.mark.slow
def test_a_release_made_again_in_a_clean_folder_is_the_same(place: Place, tmp_path: Path) -> None:
    place.report_mistakes(2)
    summary = run_night(place.night())
    assert summary.outcome == "released", summary.sentence
    shutil.rmtree(place.workspace.folder)  # nothing is left but the store
    log: list[str] = []
    made = reproduce(place.storage, 2, tmp_path / "again", log=log.append)
    ran = [line.split("'")[1] for line in log if line.startswith("Running stage")]
    assert ran == ["edit", "export", "evaluate"]  # the root was fetched, not trained
    assert (made.outcome, made.changed, made.not_rebuilt, made.elsewhere) == ("equal", (), (), ())
    with pytest.raises(NightError, match="not empty"):
        reproduce(place.storage, 2, tmp_path / "again", log=silent)


@pytest.mark.slow
def test_everything_deleted_and_run_again_gives_the_same_release_digest(place: Place, tmp_path: Path) -> None:
    """The same evidence on an empty machine: splits, root and release are made anew."""
    other = Place(tmp_path / "other")
    make_workspace(other.workspace.folder)
    assert train_new_root(other.night()).outcome == "released"
    for each in (place, other):
        each.report_mistakes(2)
        assert run_night(each.night()).outcome == "released"
    one, two = (read_live(each.storage) for each in (place, other))
    assert one is not None
    assert two is not None
    assert one[0].manifest_sha256 == two[0].manifest_sha256


def test_what_comes_out_differently_is_named(quick: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.report_mistakes(2)
    assert run_night(quick.night()).version == 2
    solve = Workspace.dvc

    def dvc(workspace: Workspace, *words: str, **named: object) -> None:
        if words[0] == "checkout":
            for name in ("splits", "root"):
                shutil.copytree(quick.workspace.folder / "artifacts" / name, workspace.folder / "artifacts" / name)
        solve(workspace, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Workspace, "dvc", dvc)
    same = reproduce(quick.storage, 2, tmp_path / "same", log=silent)
    assert same.outcome == "equal"

    def another(workspace: Workspace, *words: str, **named: object) -> None:
        dvc(workspace, *words, **named)
        if words[0] == "repro":
            measured = json.loads(workspace.gate.read_text())
            measured["criteria"]["reach"]["value"] += 0.005
            workspace.gate.write_text(json.dumps(measured))

    monkeypatch.setattr(Workspace, "dvc", another)
    near = reproduce(quick.storage, 2, tmp_path / "near", log=silent)
    assert "gate.json" in near.changed
    assert near.distance == pytest.approx(0.005)
    assert near.outcome == "within tolerance"
    far = reproduce(quick.storage, 2, tmp_path / "far", tolerance=0.001, log=silent)
    assert far.outcome == "different"
    with pytest.raises(NightError, match="never was live"):
        reproduce(quick.storage, 9, tmp_path / "nine", log=silent)


def test_rows_that_are_not_the_same_are_never_within() -> None:
    def gate(**values: float | None) -> bytes:
        rows = {
            name: CriterionRow.of(Criterion(name, math.nan if value is None else value, 0.0, 1.0, "at most", 1))
            for name, value in values.items()
        }
        rates = ErrorRates(0.0, 0.0)
        error = SplitErrors(gate=rates, test=rates)
        return GateMeasurements(
            kind="edit", version=2, splits="a" * 64, model="b" * 64, corrections=1, criteria=rows, error=error
        ).to_json()

    assert gate_distance(gate(reach=0.1, drawdown=0.2), gate(reach=0.15, drawdown=0.1)) == pytest.approx(0.1)
    for other in (gate(reach=0.1), gate(reach=0.1, drawdown=None), gate()):
        apart = gate_distance(gate(reach=0.1, drawdown=0.2), other)
        assert Reproduction(1, ("gate.json",), (), (), apart, 1.0).outcome == "different"


def test_a_release_shows_the_reports_behind_each_correction(quick: Place) -> None:
    reports = {each.id: each for each in quick.report_mistakes(2)}
    assert run_night(quick.night()).version == 2
    lineage = trace(quick.storage)
    assert {one.id for each in lineage.corrections for one in each.reports} == set(reports)
    for each in lineage.corrections:
        (report,) = each.reports
        assert (each.correction.expected, each.holds) == (reports[report.id].expected, True)
    assert {"drawdown", "corrections_hold"} <= {each.name for each in lineage.gate.criteria}
    json.dumps(lineage.to_json())
    assert trace(quick.storage, 1).corrections == ()
    with pytest.raises(NightError, match="never was live"):
        trace(quick.storage, 9)


def test_the_manifest_names_code_and_libraries(quick: Place, tmp_path: Path) -> None:
    quick.report_mistakes(1)
    run_night(quick.night())
    manifest = read_manifest(quick.storage, 2)
    assert (manifest.code, manifest.libraries) == (code_digest(), libraries())
    assert asdict(manifest)["libraries"]["torch"]
    assert read_file(quick.storage, manifest, "params.yaml") == (quick.workspace.folder / "params.yaml").read_bytes()
    for package in ("data", "editing", "flows"):
        (tmp_path / package).mkdir()
    empty = code_digest(tmp_path)
    assert code_digest() != empty  # it finds its own sources, wherever its file is moved
    (tmp_path / "flows" / "night.py").write_text("")
    assert code_digest(tmp_path) not in (empty, code_digest())
    assert layout.SIGNATURE not in manifest.files
