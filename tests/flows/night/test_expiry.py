"""Nights renew a live.json that expires, also those that release nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml
from typer.testing import CliRunner

from errata.data.releases.manifest import read_live
from errata.flows.cli.app import app
from errata.flows.night.run import run_night
from errata.flows.releases.pointer import log_entries, renew
from tests.flows.conftest import Place


def set_params(place: Place, section: str, **settings: object) -> None:
    path = place.workspace.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params.setdefault(section, {}).update(settings)
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def hours_left(place: Place) -> float:
    found = read_live(place.storage)
    assert found is not None
    return (datetime.fromisoformat(found[0].expires) - datetime.now(UTC)) / timedelta(hours=1)


@pytest.mark.slow
def test_every_night_that_ends_renews_it(quick: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    set_params(quick, "pointer", valid_hours=72)
    assert run_night(quick.night()).outcome == "nothing to correct"
    assert hours_left(quick) == pytest.approx(72, abs=0.1)
    assert len(log_entries(quick.storage)) == 1
    quick.report_mistakes(1)
    renew(quick.storage, 1e-9)  # it is over
    said: list[str] = []
    assert run_night(quick.night(said.append)).version == 2
    assert any("expired at" in line for line in said)
    assert hours_left(quick) == pytest.approx(72, abs=0.1)
    set_params(quick, "gate", accuracy=1.0)  # nothing passes
    quick.report_mistakes(1)
    renew(quick.storage, 1e-9)
    monkeypatch.setenv("ERRATA_STORE", quick.storage.url)
    failed = CliRunner().invoke(app, ["verify"])
    assert failed.exit_code == 1
    assert "expired at" in failed.output
    assert run_night(quick.night()).outcome == "not released"
    assert hours_left(quick) == pytest.approx(72, abs=0.1)
    assert CliRunner().invoke(app, ["verify"]).exit_code == 0
