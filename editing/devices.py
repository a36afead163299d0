"""Where to compute: a GPU if there is one, unless told otherwise."""

from __future__ import annotations

import torch

from errata.editing.errors import DataError


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is the first CUDA device, else the CPU; any other name is torch's. Raises DataError if there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DataError(f"no device is called {name!r}; use auto, cpu, cuda or cuda:1") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DataError(f"there is no device {name}: torch {torch.__version__} sees {torch.cuda.device_count()} GPUs")
    return device
