"""Long work says how far it is and how long still, short work nothing; who asks sees what runs, not what ended."""

import os
from pathlib import Path

from errata.flows.stages.progress import Teller, progress_file, read_progress
from errata.flows.workspace import Workspace


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_long_work_tells_how_far_and_how_long_still(tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()
    workspace = Workspace(tmp_path)
    teller = Teller(progress_file(workspace), "evaluate", said.append, clock)
    for done in range(1, 101):
        teller.tell("images", done, 100)
        clock.now += 1
    assert len(said) == 6  # every 15 seconds
    assert said[0] == "evaluate: images 16 of 100, 15 s so far, 1 min 24 s left"  # a second each
    assert said[-1].startswith("evaluate: images 91 of 100")
    found = read_progress(workspace)
    assert found is not None
    assert (found.done, found.total, found.process, found.sentence) == (91, 100, os.getpid(), said[-1])


def test_short_work_says_nothing_and_one_thing_does_not_speak_for_another(tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()
    teller = Teller(tmp_path / "progress.json", "edit", said.append, clock)
    for turn in range(1, 6):  # five times the same short work within one that is long
        for done in range(1, 5):
            teller.tell("batches", done, 4)
            clock.now += 1
        teller.tell("images", turn, 5)
    assert said == ["edit: images 5 of 5, 16 s so far"]


def test_each_epoch_is_told_with_its_loss_and_what_nobody_can_count_without_a_total(tmp_path: Path) -> None:
    clock, said = Clock(), list[str]()
    teller = Teller(tmp_path / "progress.json", "train", said.append, clock)
    for epoch in (1, 2):
        clock.now += 50
        teller.tell("epoch", epoch, 2, f"loss {1 / epoch}")
    assert said == ["train: epoch 1 of 2, loss 1.0", "train: epoch 2 of 2, loss 0.5, 50 s so far"]
    teller.tell("images read", 1, 0)
    clock.now += 4000
    teller.tell("images read", 70_000, 0)
    assert said[2:] == ["train: images read 70,000, 1 h 6 min so far"]


def test_what_has_ended_or_is_damaged_is_not_at_work(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_progress(workspace) is None
    path = progress_file(workspace)
    Teller(path, "train").tell("epoch", 1, 2, "loss 1")
    text = path.read_text()
    assert read_progress(workspace) is not None
    path.write_text(text.replace(str(os.getpid()), "4194305"))  # one more than the system's most
    assert read_progress(workspace) is None
    path.write_text(text[:-5])
    assert read_progress(workspace) is None


def test_a_full_disk_does_not_end_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    Teller(tmp_path / "file" / "progress.json", "train", said.append).tell("epoch", 1, 2, "loss 1")
    assert len(said) == 1
