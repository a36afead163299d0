"""What test_processes.py has several processes do: each of three trainings, its weights and losses to a file.

torchrun --nproc-per-node 2 -m tests.editing.training.trained_together FOLDER
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from errata.editing.model import EditableModel
from errata.editing.rules import GradientDescent
from errata.editing.scopes import Scope, before
from errata.editing.settings import EditableSettings
from errata.editing.training.distillation import train_without_labels
from errata.editing.training.editable import train_editable
from errata.editing.training.plain import TrainingRecord, train
from errata.editing.training.processes import Processes, joined
from tests.editing.models import small_images, small_model

IMAGES = small_images(41)  # the last batch has 9, which two processes share as 5 and 4
LABELS = torch.arange(41) % 4
SETTINGS = EditableSettings(
    epochs=2, batch=16, learning_rate=0.02, scope="chain4", edits=3, edit_steps=2, local_share=0.6, clip=1.0
)


def plain(model: EditableModel, processes: Processes) -> TrainingRecord:
    return train(model, IMAGES, LABELS, SETTINGS, processes=processes)


def editable(model: EditableModel, processes: Processes) -> TrainingRecord:
    return train_editable(model, IMAGES, LABELS, SETTINGS, rule=GradientDescent(0.05), processes=processes).training


def distilled(model: EditableModel, processes: Processes) -> TrainingRecord:
    scope = Scope("adapter")
    settings = SETTINGS.model_copy(update={"scope": "adapter", "learning_rate": 1e-3})
    with torch.no_grad():
        hidden = before(model, IMAGES, scope.resolve(model).cut)
    return train_without_labels(model, hidden, settings, rule=GradientDescent(0.05), processes=processes).training


TRAININGS = {"plain": plain, "editable": editable, "distilled": distilled}


def found(name: str, processes: Processes) -> dict[str, Any]:
    """The weights after a training, its losses and what else was measured in it."""
    torch.manual_seed(3)
    model = small_model().adapted(8) if name == "distilled" else small_model()
    record = TRAININGS[name](model, processes)
    measured = [{"loss": epoch.loss, **epoch.measures} for epoch in record.epochs]
    return {"weights": model.state_dict(), "measured": measured, "processes": record.settings.get("processes", 1)}


if __name__ == "__main__":
    with joined(torch.device("cpu")) as these:
        everything = {name: found(name, these) for name in TRAININGS}
        torch.save(everything, Path(sys.argv[1]) / os.environ["RANK"])
