"""The small residual networks of He et al. 2016, section 4.2 (CIFAR-10): three chains of 16, 32 and 64 channels.

Weights of them that others trained can be read by `editing.pretrained.load_weights`; their stages are named as
in most such files. Shortcuts have no weights (option A of the paper): every second place, and zeros for the channels to
come.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cifar10.data import CLASSES
from errata.editing.model import EditableModel, ModelSpec, load_model
from errata.editing.networks.architectures import BasicBlock, GlobalMean, register
from errata.editing.pretrained import load_weights

MEAN = (0.485, 0.456, 0.406)  # as public weights of these networks want it
STD = (0.229, 0.224, 0.225)


class PaddedShortcut(nn.Module):
    """Every `stride`-th place each way, with `channels` channels of zeros added, half before and half after."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, hidden: Tensor) -> Tensor:
        half = self.channels // 2
        return functional.pad(hidden[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))


@register("cifar-resnet")
def cifar_resnet(classes: int, image_shape: tuple[int, int, int], blocks: int = 3) -> tuple[nn.Module, nn.Linear]:
    """`6 blocks + 2` layers: 3 blocks a chain make ResNet-20, 9 ResNet-56."""
    channels = 16
    backbone = nn.Sequential()
    backbone.add_module("conv1", nn.Conv2d(image_shape[2], channels, 3, 1, 1, bias=False))
    backbone.add_module("bn1", nn.BatchNorm2d(channels))
    backbone.add_module("relu", nn.ReLU())
    for chain, outputs in enumerate((16, 32, 64), 1):
        chained = nn.Sequential()
        for block in range(blocks):
            stride = 2 if block == 0 and chain > 1 else 1
            chained.append(BasicBlock(channels, outputs, stride))
            if outputs != channels:
                chained[-1].shortcut = PaddedShortcut(outputs - channels, stride)
            channels = outputs
        backbone.add_module(f"layer{chain}", chained)
    backbone.add_module("pool", GlobalMean())
    return backbone, nn.Linear(channels, classes)


def load_resnet(path: Path, blocks: int) -> EditableModel:
    """The network whose weights are in `path` (safetensors, or a state dict). Raises ModelError if they do not fit."""
    spec = ModelSpec("cifar-resnet", CLASSES, (32, 32, 3), MEAN, STD, {"blocks": blocks})
    model = EditableModel.from_spec(spec)
    load_weights(model, path.read_bytes(), path.name)
    # Narrow convolutions are about a fifth faster with channels last.
    return model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def read_root(given: str) -> EditableModel:
    """A network that a user brings: a folder of `save_model`, or `FILE:BLOCKS`, weights as `load_resnet` takes them.

    Raises ModelError if it cannot be read.
    """
    path, _, blocks = given.rpartition(":")
    return load_resnet(Path(path), int(blocks)) if blocks.isdigit() and path else load_model(Path(given))
