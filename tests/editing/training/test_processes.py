"""Two processes that train together, by gloo, against one that trains alone; batch norms against torch's."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from errata.editing.errors import DataError
from errata.editing.settings import TrainingSettings
from errata.editing.training.plain import train
from errata.editing.training.processes import ALONE, Processes
from tests.editing.models import small_images, small_model
from tests.editing.training.trained_together import TRAININGS, found

REPOSITORY = Path(__file__).parents[3]


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    """Of each training: the same bits in both, and but for rounding what one process comes to, its losses too."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    subprocess.run([*command, "tests.editing.training.trained_together", str(tmp_path)], check=True, cwd=REPOSITORY)
    first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("0", "1"))
    for name in TRAININGS:
        together, alone = first[name], found(name, ALONE)
        assert together["processes"] == 2 and alone["processes"] == 1
        for key, wanted in alone["weights"].items():
            assert torch.equal(together["weights"][key], second[name]["weights"][key]), (name, key)
            torch.testing.assert_close(together["weights"][key], wanted, rtol=1e-3, atol=1e-4, msg=f"{name}: {key}")
        for mine, wanted in zip(together["measured"], alone["measured"], strict=True):
            assert mine == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


def test_parts_are_disjoint_and_weigh_what_they_are_of_the_batch() -> None:
    batch = torch.arange(9)
    both = [Processes(rank, 2) for rank in (0, 1)]
    parts = [one.part(batch) for one in both]
    assert sorted(torch.cat(parts).tolist()) == batch.tolist() and [len(part) for part in parts] == [5, 4]
    means = [float(part.double().mean()) * one.weight(len(part), 9) for one, part in zip(both, parts, strict=True)]
    assert sum(means) / 2 == pytest.approx(float(batch.double().mean()))
    for one, part in zip(both, parts, strict=True):
        for row, place in zip(batch.tolist(), one.places(batch).tolist(), strict=True):
            assert place == -1 if row not in part.tolist() else int(part[place]) == row


def test_a_batch_that_cannot_be_shared_and_a_state_to_take_up_are_refused(tmp_path: Path) -> None:
    images, labels = small_images(17), torch.arange(17) % 4
    with pytest.raises(DataError, match="2 processes cannot share a batch of 1 images"):
        train(small_model(), images, labels, TrainingSettings(batch=16), processes=Processes(0, 2))
    with pytest.raises(DataError, match="leave `resume` out"):
        train(
            small_model(),
            images[:16],
            labels[:16],
            TrainingSettings(),
            resume=tmp_path / "s",
            processes=Processes(0, 2),
        )
