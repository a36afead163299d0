"""A night on a Ray cluster comes to the same release, although one of its machines goes away."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from errata.editing.engine import ENGINE
from errata.flows.night.run import run_night
from errata.flows.night.step import Arguments, Result, Step, run_here
from tests.flows.conftest import Place, Undisturbed, play

pytestmark = pytest.mark.slow


def test_a_night_on_a_cluster_comes_to_the_same_release(
    undisturbed: Undisturbed, ray_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages compute everything anew: nothing that this session knows is at hand."""
    shutil.copytree(undisturbed.before.folder, tmp_path / "place", symlinks=True)
    place = Place(tmp_path / "place")
    shutil.rmtree(place.workspace.features, ignore_errors=True)
    (tmp_path / "memory").mkdir()
    play(monkeypatch, tmp_path / "memory")
    monkeypatch.setenv(ENGINE, ray_cluster.address)
    dying = ray_cluster.add_node(num_cpus=2)
    ray_cluster.wait_for_nodes()
    steps = []

    def run_step(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        result = run_here(step, *args, **kwargs)
        if step.name == "collect":  # reports were read there; what the edit needs is still to be computed
            ray_cluster.remove_node(dying, allow_graceful=False)
        steps.append(step.name)
        return result

    assert run_night(place.night(), run_step).version == 2
    assert "collect" in steps
    assert place.digest == undisturbed.digest
