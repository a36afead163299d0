"""torchvision, and the only place that imports it: `from errata.editing.vision import torchvision`.

torchvision's usual wheel is linked against CUDA. Beside a CPU-only torch its compiled operators do not load, and the
import fails at the first Python rule written for one of them. Declaring the schemas of those operators is enough for
models, transforms, datasets and grids, which are plain Python; calling `ops.nms` still fails, as it must. With a
matching pair of wheels the first import succeeds and nothing here does anything.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a library's schemas live as long as this object


def load_torchvision(import_module: Callable[[str], ModuleType] = importlib.import_module) -> ModuleType:
    """The torchvision module; declares its operators only where the plain import fails for want of them."""
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _declared.append(library)
    return import_module("torchvision")


torchvision = load_torchvision()
