"""Releases handed over to a real MLflow, on SQLite; skipped where the extra `mlflow` is not installed."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, NightError, NotInstalled
from errata.flows.cli.app import app
from errata.flows.night.run import run_night
from errata.flows.releases.mlflow_registry import Registered, register_releases
from tests.flows.conftest import Place, set_params


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow on a database and a folder of its own."""
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)  # artifacts go to ./mlruns
    yield mlflow
    mlflow.set_tracking_uri(None)


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def storage(place: Place) -> Storage:
    return place.storage


def test_the_live_release_is_registered_once_with_card_measurements_and_alias(
    mlflow: Any, uri: str, storage: Storage
) -> None:
    assert register_releases(storage, "digits", uri=uri) == [Registered(1, "1", True, "live")]
    assert register_releases(storage, "digits", uri=uri) == [Registered(1, "1", False, "live")]
    client = mlflow.MlflowClient()
    (each,) = client.search_model_versions("name = 'digits'")
    found = read_live(storage)
    assert found is not None
    assert client.get_model_version_by_alias("digits", "live").version == each.version
    assert each.tags["errata.manifest"] == found[0].manifest_sha256
    assert each.tags["errata.files"] == f"{storage.url}/releases/1/"

    model = client.get_logged_model(each.source.removeprefix("models:/"))
    assert model.tags["mlflow.model.isExternal"] == "true", "its files are the store's, not MLflow's"
    manifest = read_manifest(storage, 1)
    assert model.params["root"] == manifest.root
    accuracy = json.loads(read_file(storage, manifest, "gate.json"))["criteria"]["accuracy"]["value"]
    assert {each.key: each.value for each in model.metrics}["accuracy"] == pytest.approx(accuracy)

    folder = Path(mlflow.artifacts.download_artifacts(each.source))
    assert (folder / "mlbom.cdx.json").read_bytes() == read_file(storage, manifest, "mlbom.cdx.json")
    assert (folder / "manifest.json").read_bytes() == manifest.to_json()
    assert not list(folder.rglob("*.onnx"))


def test_a_candidate_has_its_alias_while_it_waits(mlflow: Any, uri: str, quick: Place) -> None:
    set_params(quick.workspace.folder, "gate", shadow_requests=50)
    quick.report_mistakes(1)
    assert run_night(quick.night()).sentence == "the candidate is inconclusive on shadow"
    done = register_releases(quick.storage, "digits", uri=uri)
    assert done == [Registered(1, "1", True, "live"), Registered(2, "2", True, "candidate")]
    client = mlflow.MlflowClient()
    aliases = client.get_registered_model("digits").aliases
    assert {name: str(each) for name, each in aliases.items()} == {"live": "1", "candidate": "2"}

    set_params(quick.workspace.folder, "gate", shadow_requests=0)
    assert run_night(quick.night()).outcome == "released"
    register_releases(quick.storage, "digits", uri=uri)
    aliases = client.get_registered_model("digits").aliases
    assert set(aliases) == {"live"}, "nothing waits any more"
    live = client.get_model_version_by_alias("digits", "live")
    found = read_live(quick.storage)
    assert found is not None
    assert live.tags["errata.manifest"] == found[0].manifest_sha256


def test_the_command_says_what_it_did(mlflow: Any, uri: str, storage: Storage) -> None:
    words = ["mlflow", "1", "--name", "digits", "--uri", uri, "--store", storage.url, "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [{"release": 1, "version": "1", "new": True, "alias": ""}]
    assert mlflow.MlflowClient().get_registered_model("digits").aliases == {}


def test_what_does_not_verify_is_not_handed_over(mlflow: Any, uri: str, storage: Storage) -> None:
    path = Path(storage.url) / "releases/1/mlbom.cdx.json"
    path.chmod(0o644)
    path.write_text("{}")
    with pytest.raises(Damaged, match=r"mlbom\.cdx\.json"):
        register_releases(storage, "digits", uri=uri)
    assert mlflow.MlflowClient(uri).search_registered_models() == []


def test_what_mlflow_refuses_is_told(mlflow: Any, uri: str, storage: Storage) -> None:
    with pytest.raises(NightError, match=r"MLflow at .* does not take it"):
        register_releases(storage, "", uri=uri)


def test_without_mlflow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(NotInstalled, match=r"errata-models\[mlflow\]"):
        register_releases(LocalStorage(tmp_path / "store"), "digits")
