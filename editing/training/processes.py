"""Training divided among processes (`torchrun`): each takes a part of every batch, and all take the same step.

Together they compute what one process computes from the whole batch, but for rounding: the gradients of the parts are
averaged by their share of the batch, and batch norms take their statistics over all parts. (torch's own SyncBatchNorm
does that on GPUs only.) All processes must start from the same weights and draw the same random numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from errata.editing.errors import DataError


@dataclass(frozen=True)
class Processes:
    """How many processes train one model, and the number of this one."""

    rank: int = 0
    count: int = 1

    @property
    def record(self) -> dict[str, int]:
        """What a record of the training says of them: nothing of one alone."""
        return {"processes": self.count} if self.count > 1 else {}

    def check(self, images: int, batch: int) -> None:
        """Raises DataError if a batch of so many `images` in all, the last one say, has not one for each process."""
        least = min(batch, images % batch or batch)
        if least < self.count:
            raise DataError(f"{self.count} processes cannot share a batch of {least} images; change train.batch")

    def part(self, batch: Tensor) -> Tensor:
        """The rows of a batch `[n, ...]` that this process takes: every `count`-th."""
        return batch[self.rank :: self.count]

    def places(self, rows: Tensor) -> Tensor:
        """Where rows of the batch, int64 `[k]`, are in this process's part; -1 for those of others."""
        return torch.where(rows % self.count == self.rank, rows // self.count, -1)

    def weight(self, own: int, whole: int) -> float:
        """By what a mean over `own` of `whole` images is multiplied, so that the mean over processes is that of all."""
        return self.count * own / whole

    def average(self, parameters: Sequence[Tensor]) -> None:
        """Replace each gradient by its mean over processes; one that no process has stays None."""
        if self.count == 1:
            return
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
        there = gradients[0].new_tensor([one.grad is not None for one in parameters])
        whole = torch.cat([*(one.flatten().to(there.device) for one in gradients), there])
        distributed.all_reduce(whole)
        *means, there = (whole / self.count).split([*(one.numel() for one in gradients), len(there)])
        for one, mean, found in zip(parameters, means, there.tolist(), strict=True):
            one.grad = mean.view_as(one).to(one.device, copy=True) if found else None

    def mean(self, measures: Mapping[str, float]) -> dict[str, float]:
        """The mean over processes of each number; all must have the same ones."""
        if self.count == 1:
            return dict(measures)
        found = torch.tensor(list(measures.values()), dtype=torch.float64, device=_device())
        distributed.all_reduce(found)
        return dict(zip(measures, (found / self.count).tolist(), strict=True))

    @contextmanager
    def joint_batch_norms(self, model: nn.Module) -> Iterator[None]:
        """Within, batch norms in training mode take their statistics over the parts of all processes."""
        layers = [one for one in model.modules() if isinstance(one, _BatchNorm)] if self.count > 1 else []
        try:
            for layer in layers:
                layer.forward = partial(_joint_batch_norm, layer)  # type: ignore[method-assign]
            yield
        finally:
            for layer in layers:
                del layer.forward


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """This process among those that `torchrun` started, talking by NCCL between GPUs, else by gloo; else it alone."""
    if "RANK" not in os.environ:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Processes(distributed.get_rank(), distributed.get_world_size())
    distributed.destroy_process_group()  # not where one failed: the others still wait for it, and torchrun ends them


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


class _Sum(torch.autograd.Function):
    """The sum over processes of a tensor; so is the gradient."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone()
        distributed.all_reduce(total)
        return total


def _joint_batch_norm(layer: _BatchNorm, inputs: Tensor) -> Tensor:
    """`layer(inputs)` with the statistics of all processes' `inputs` `[n, channels, ...]`, in two passes."""
    if not layer.training:
        return type(layer).forward(layer, inputs)
    values = inputs.float()
    others = [axis for axis in range(values.dim()) if axis != 1]
    shape = [1, -1] + [1] * (values.dim() - 2)
    sums: Tensor = _Sum.apply(  # type: ignore[no-untyped-call] # in torch's stubs
        torch.cat([values.sum(others), values.new_tensor([values.numel() / values.shape[1]])])
    )
    mean, count = sums[:-1] / sums[-1], sums[-1].detach()
    centred = values - mean.view(shape)
    squares: Tensor = _Sum.apply(centred.square().sum(others))  # type: ignore[no-untyped-call]
    variance = squares / count
    if layer.running_mean is not None and layer.running_var is not None and layer.num_batches_tracked is not None:
        with torch.no_grad():
            layer.num_batches_tracked.add_(1)
            factor = 1 / layer.num_batches_tracked.item() if layer.momentum is None else layer.momentum
            layer.running_mean.lerp_(mean, factor)
            layer.running_var.lerp_(squares / (count - 1), factor)
    normal = centred * (variance + layer.eps).rsqrt().view(shape)
    if layer.affine:
        normal = normal * layer.weight.view(shape) + layer.bias.view(shape)
    return normal.to(inputs.dtype)
