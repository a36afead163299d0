"""DVC shows what changed between releases that git has tags of: metrics and plots are in its cache, as in the store."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from errata.data.releases.manifest import read_file, read_manifest
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.night.run import run_night
from errata.flows.releases.git_tag import SETTING
from tests.flows.conftest import Place


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_dvc_compares_releases_by_their_tags(
    place: Place, _unsolvable: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the cache was lost: the store has the metrics of every release."""
    place, folder = replace(place, passed_over=_unsolvable), place.workspace.folder
    monkeypatch.setenv(SETTING, "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "errata")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "errata@example.org")
    config = folder / ".dvc" / "config.local"
    local = config.read_text().replace("no_scm = true", "no_scm = false")

    def dvc(*words: str) -> str:
        command = [sys.executable, "-m", "dvc", *words]
        done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    # at a tag DVC knows the settings that git has
    dvc("remote", "modify", "store", "url", f"{place.storage.url}/dvc")
    config.write_text(local)
    for words in (("init", "-q"), ("add", ".dvc/config", "dvc.yaml", "params.yaml"), ("commit", "-qm", "a project")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    place.report_mistakes(2)
    assert run_night(place.night()).version == 2
    shutil.rmtree(folder / ".dvc" / "cache")
    dvc("fetch", "--all-tags")
    told = json.loads(dvc("metrics", "diff", "errata@v1", "errata@v2", "--all", "--json"))
    (numbers,) = told.values()
    released = [
        GateMeasurements.from_json(read_file(place.storage, read_manifest(place.storage, version), "gate.json"))
        for version in (1, 2)
    ]
    then, now = (each.criteria["accuracy"].value for each in released)
    assert (numbers["accuracy"]["old"], numbers["accuracy"]["new"]) == (pytest.approx(then), pytest.approx(now))
    assert numbers["corrections_hold"]["new"] == 1.0
    shown = list(csv.DictReader(dvc("exp", "show", "--all-tags", "--csv", "--no-pager").splitlines()))
    assert [row["corrections_hold"] for row in shown] == ["1.0", "", "1.0"]  # here, errata@v1, the branch
    assert shown[1]["rev"] == "errata@v1"
    dvc("plots", "diff", "errata@v1", "errata@v2", "--out", "compared")
    pictures = {path.name for path in Path(folder / "compared" / "static").iterdir()}
    assert {"errata@v1_metrics_recall.png", "errata@v2_metrics_recall.png"} <= pictures
