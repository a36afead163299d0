"""What every stage takes: the device, the modules that params.yaml names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence

import torch

from editing.devices import choose_device
from editing.errors import DataError

DEVICE = "ERRATA_DEVICE"  # what differs between machines is in the environment


def device() -> torch.device:
    """Where to compute: ERRATA_DEVICE, by default a GPU if there is one."""
    return choose_device(os.environ.get(DEVICE, "auto"))


def load_plugins(modules: Sequence[str]) -> None:
    """Import the modules that register architectures; raises DataError if one cannot be imported."""
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DataError(f"params.yaml: model.plugins: {name!r} cannot be imported here: {error}") from error
