"""Plain training: SGD with momentum, one-cycle learning rate (Smith & Topin 2019), cross-entropy, shift and flip.

`fit` is the loop that Editable Training shares: an objective turns a batch into a loss, the loop does the rest. It can
be stopped after any epoch and resumed, with the same result as if it had not been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.errors import DataError
from errata.editing.model import EditableModel
from errata.editing.settings import TrainingSettings
from errata.editing.training.processes import ALONE, Processes


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: number from 1, mean loss, mean of whatever else the objective measured, wall seconds."""

    number: int
    loss: float
    measures: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class TrainingRecord:
    """What was done: settings, seed and device (as numbers and words), and every epoch."""

    settings: dict[str, Any]
    epochs: tuple[Epoch, ...]


Progress = Callable[[Epoch], None]
Optimized = tuple[Sequence[torch.optim.Optimizer], Sequence[torch.optim.lr_scheduler.LRScheduler]]
Optimize = Callable[[Sequence[nn.Parameter], Sequence[nn.Parameter], TrainingSettings, int], Optimized]


class Objective(Protocol):
    """From a batch to a loss, in the training loop's autocast context."""

    @property
    def processes(self) -> Processes:
        """Those that train the model; each has the whole batch and computes the loss of its part, weighted so that the
        mean over processes is the loss of the batch."""
        ...

    def __call__(self, model: EditableModel, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        """A scalar to minimise and what to record; `images` uint8 `[n, h, w, c]`, `labels` int64 `[n]`."""
        ...

    def coefficients(self) -> Sequence[nn.Parameter]:
        """Trained along with the model, by Adam."""
        ...

    def generators(self) -> Sequence[torch.Generator]:
        """What it draws from, kept with a training that is to be resumed."""
        ...


class CrossEntropy:
    """The plain objective."""

    def __init__(self, processes: Processes = ALONE) -> None:
        self.processes = processes

    def __call__(self, model: EditableModel, images: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, float]]:
        wanted = self.processes.part(labels)
        loss = F.cross_entropy(model(self.processes.part(images)), wanted)
        return loss * self.processes.weight(len(wanted), len(labels)), {}

    def coefficients(self) -> Sequence[nn.Parameter]:
        return ()

    def generators(self) -> Sequence[torch.Generator]:
        return ()


def train(
    model: EditableModel,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: Path | None = None,
    processes: Processes = ALONE,
) -> TrainingRecord:
    """Train `model` in place on uint8 images `[n, h, w, c]` and int64 labels `[n]`; leaves it in eval mode on the CPU.

    The same settings and `seed` on the same `device` with the same number of threads give the same weights. With
    `resume`, the state after every epoch is kept in that file and taken up from there. Each of several `processes`
    calls it with the same arguments, its own `device` apart, and has the same weights at the end. Raises DataError if
    there are no images, or images and labels do not fit the model, or `settings.batch` the processes.
    """
    objective = CrossEntropy(processes)
    return fit(model, images, labels, settings, objective, progress, seed=seed, device=device, resume=resume)


def fit(
    model: EditableModel,
    images: Tensor,
    labels: Tensor,
    settings: TrainingSettings,
    objective: Objective,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: Path | None = None,
    optimize: Optimize | None = None,
) -> TrainingRecord:
    """The training loop of `train` with any objective, by SGD with momentum and a one-cycle rate unless `optimize` says
    otherwise. Images stay where they are but for the batch at hand."""
    processes = objective.processes
    _check(model, images, labels)
    processes.check(len(images), settings.batch)
    if processes.count > 1 and resume is not None:
        raise DataError("a training by several processes cannot be taken up again; leave `resume` out")
    record = {**settings.model_dump(), "seed": seed, "device": device, **processes.record}
    place = torch.device(device)
    model.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload] # mypy: not in torch's stubs
    weights = [
        weight for name, weight in model.named_parameters() if weight.requires_grad and not name.startswith("patch.")
    ]
    steps = -(-len(images) // settings.batch)
    coefficients = list(objective.coefficients())
    optimizers, schedules = (optimize or by_momentum)(weights, coefficients, settings, steps * settings.epochs)
    generator = torch.Generator().manual_seed(seed)
    parts: dict[str, Any] = {"model": model} | {f"optimizer {number}": one for number, one in enumerate(optimizers)}
    parts |= {f"schedule {number}": one for number, one in enumerate(schedules)}
    generators = [generator, *objective.generators()]
    epochs = _restore(resume, record, parts, coefficients, generators)
    for number in range(len(epochs) + 1, settings.epochs + 1):
        started = time.perf_counter()
        model.train()
        totals: dict[str, float] = {}
        for chosen in torch.randperm(len(images), generator=generator).split(settings.batch):
            batch = augment(images[chosen].to(place), settings, generator)
            autocast = torch.autocast(place.type, torch.bfloat16, enabled=settings.precision == "bfloat16")
            with autocast, processes.joint_batch_norms(model):
                loss, measures = objective(model, batch, labels[chosen].to(place))
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            processes.average([*weights, *coefficients])
            if settings.clip > 0:
                # Not the coefficients: their gradient would be scaled down just when an edit fails and is steep.
                nn.utils.clip_grad_norm_(weights, settings.clip)
            for optimizer in optimizers:
                optimizer.step()
            for schedule in schedules:
                schedule.step()
            for name, value in processes.mean({"loss": loss.item(), **measures}).items():
                totals[name] = totals.get(name, 0.0) + value / steps
        epoch = Epoch(number, totals.pop("loss"), totals, time.perf_counter() - started)
        epochs.append(epoch)
        _keep(resume, record, parts, coefficients, generators, epochs)
        if progress is not None and processes.rank == 0:
            model.eval()
            progress(epoch)
    model.to("cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return TrainingRecord(record, tuple(epochs))


def by_momentum(
    weights: Sequence[nn.Parameter], coefficients: Sequence[nn.Parameter], settings: TrainingSettings, steps: int
) -> Optimized:
    """SGD with Nesterov momentum and a one-cycle rate for the weights, Adam at a rate of 0.01 for the coefficients."""
    descent = torch.optim.SGD(
        weights, settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay, nesterov=True
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        descent, settings.learning_rate, total_steps=steps, pct_start=settings.warmup
    )
    return [descent, *([torch.optim.Adam(coefficients, 1e-2)] if coefficients else [])], [cycle]


def by_adam(
    weights: Sequence[nn.Parameter], coefficients: Sequence[nn.Parameter], settings: TrainingSettings, steps: int
) -> Optimized:
    """Adam for both, at a rate that falls from `settings.learning_rate` to zero along a cosine."""
    adam = torch.optim.Adam([*weights, *coefficients], settings.learning_rate)
    return [adam], [torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)]


def augment(images: Tensor, settings: TrainingSettings, generator: torch.Generator) -> Tensor:
    """Each image `[n, h, w, c]` shifted by up to `settings.shift` pixels (black edges) and flipped half of the time."""
    count, height, width, _ = images.shape
    shift = settings.shift
    rows = torch.arange(height) + torch.randint(0, 2 * shift + 1, (count, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(0, 2 * shift + 1, (count, 1), generator=generator)
    if settings.flip:
        flipped = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
    padded = F.pad(images, (0, 0, shift, shift, shift, shift))
    index = torch.arange(count, device=images.device)[:, None, None]
    return padded[index, rows.to(images.device)[:, :, None], columns.to(images.device)[:, None, :]]


@torch.no_grad()
def predict(model: EditableModel, images: Tensor, batch: int = 512, precision: str = "float32") -> Tensor:
    """Logits float32 `[n, classes]` on the CPU, in batches; the model's mode is left as it is."""
    device = model.head.weight.device
    found = []
    for part in images.split(batch):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            found.append(model(part.to(device)).float().cpu())
    return torch.cat(found)


def _check(model: EditableModel, images: Tensor, labels: Tensor) -> None:
    if len(images) == 0 or len(images) != len(labels):
        raise DataError(f"there are {len(images)} images and {len(labels)} labels; give equally many, at least one")
    if tuple(images.shape[1:]) != model.spec.image_shape:
        raise DataError(f"images of shape {tuple(images.shape[1:])} do not fit the model's {model.spec.image_shape}")
    if int(labels.min()) < 0 or int(labels.max()) >= len(model.spec.classes):
        raise DataError(f"labels must lie in 0 to {len(model.spec.classes) - 1}, the model's classes")


def _keep(
    path: Path | None,
    settings: Mapping[str, Any],
    parts: dict[str, Any],
    coefficients: Sequence[nn.Parameter],
    generators: Sequence[torch.Generator],
    epochs: Sequence[Epoch],
) -> None:
    if path is None:
        return
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {
        "coefficients": [one.detach() for one in coefficients],
        "generators": [one.get_state() for one in generators],
    }
    state |= {"settings": dict(settings), "epochs": [asdict(one) for one in epochs]}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)  # a crash leaves the old state, never half a file


def _restore(
    path: Path | None,
    settings: Mapping[str, Any],
    parts: dict[str, Any],
    coefficients: Sequence[nn.Parameter],
    generators: Sequence[torch.Generator],
) -> list[Epoch]:
    if path is None or not path.exists():
        return []
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["settings"] != dict(settings) or not parts.keys() <= state.keys():
        raise DataError(f"{path} was made with other settings; remove it to start again")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    with torch.no_grad():
        for one, kept in zip(coefficients, state["coefficients"], strict=True):
            one.copy_(kept)
    for generator, kept in zip(generators, state["generators"], strict=True):
        generator.set_state(kept)
    return [Epoch(**one) for one in state["epochs"]]
