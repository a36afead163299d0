"""Architectures by name: a registry in code, so that a model file can never name an import path.

Yours joins it by `@register("name")` in a module of your own, or by an entry point `name` in the group
`errata.architectures` of an installed package. Models of torchvision and timm are there already, and
EfficientNet-Lite0.

A factory returns a backbone (to `[n, features]`, an `nn.Sequential` of stages where it can: everything before the first
editable stage is computed once) and a linear head.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.errors import ModelError, NotInstalled
from errata.editing.networks.adoption import split_classifier
from errata.editing.networks.imagenet import INSTALL

ENTRY_POINTS = "errata.architectures"
Factory = Callable[..., tuple[nn.Module, nn.Linear]]
_FACTORIES: dict[str, Factory] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Register `factory(classes, image_shape, **arguments) -> (backbone, head)` under `name`."""

    def keep(factory: Factory) -> Factory:
        if name in _FACTORIES:
            raise ModelError(f"the architecture {name!r} is registered already; choose another name")
        _FACTORIES[name] = factory
        return factory

    return keep


def build(
    name: str, classes: int, image_shape: tuple[int, int, int], arguments: Mapping[str, Any]
) -> tuple[nn.Module, nn.Linear]:
    """Backbone and head of the architecture registered as `name`.

    Raises ModelError if there is none, or if it does not take the arguments.
    """
    try:
        return _factory(name)(classes, image_shape, **arguments)
    except TypeError as error:
        raise ModelError(f"the architecture {name!r} does not take its arguments: {error}") from error


def _factory(name: str) -> Factory:
    """The registered factory, else the one that an installed package names."""
    if name in _FACTORIES:
        return _FACTORIES[name]
    installed = entry_points(group=ENTRY_POINTS)
    if name in installed.names:
        factory: Factory = installed[name].load()
        return _FACTORIES.setdefault(name, factory)
    known = ", ".join(sorted({*_FACTORIES, *installed.names}))
    raise ModelError(f"no architecture is registered as {name!r}; known: {known}. Register yours in code first")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016), with batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(images)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(images))


class GlobalMean(nn.Module):
    """`[n, channels, height, width]` to its mean over places `[n, channels]`: a single node in ONNX."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


@register("resnet")
def resnet(
    classes: int, image_shape: tuple[int, int, int], width: int = 64, blocks: int = 2
) -> tuple[nn.Module, nn.Linear]:
    """A residual network for small images: stem, then chains 1 to 4 of `blocks` blocks at 1, 2, 4, 8 times `width`.

    `blocks=2, width=64` is the ResNet-18 of the paper's CIFAR-10 experiments (section 4.1); "chain" is its word.
    """
    stages: dict[str, nn.Module] = {
        "stem": nn.Sequential(nn.Conv2d(image_shape[2], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    }
    channels = width
    for chain in range(1, 5):
        outputs = width * 2 ** (chain - 1)
        chained = []
        for block in range(blocks):
            stride = 2 if block == 0 and chain > 1 else 1
            chained.append(BasicBlock(channels, outputs, stride))
            channels = outputs
        stages[f"chain{chain}"] = nn.Sequential(*chained)
    stages["pool"] = GlobalMean()
    backbone = nn.Sequential()
    for name, stage in stages.items():
        backbone.add_module(name, stage)
    return backbone, nn.Linear(channels, classes)


class Stages(nn.Sequential):
    """Stages of somebody else's model; `origin` has our name of each part under the one that it had there."""

    origin: Mapping[str, str] = MappingProxyType({})

    @staticmethod
    def of(parts: Mapping[str, Mapping[str, nn.Module]]) -> Stages:
        """Stages by name, each of its parts in order by their original names."""
        stages = Stages(OrderedDict((stage, nn.Sequential(*held.values())) for stage, held in parts.items()))
        stages.origin = {
            original: f"{stage}.{number}" for stage, held in parts.items() for number, original in enumerate(held)
        }
        return stages


@register("efficientnet_lite0")
def efficientnet_lite0(classes: int, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Linear]:
    """EfficientNet-Lite0 (Tan and Le 2019, Google's for small devices): `stem`, `stage1` to `stage7`, `top`."""
    try:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise NotInstalled(f"efficientnet_lite0 is not installed: {INSTALL}") from error
    height, width, channels = image_shape
    if channels != 3:
        raise ModelError(f"efficientnet_lite0 takes images of 3 channels, not {channels}; check image_shape")
    whole = EfficientNet.from_name("efficientnet-lite0", image_size=[height, width], num_classes=classes)
    stages = {"stem": {"_conv_stem": whole._conv_stem, "_bn0": whole._bn0, "activation": nn.ReLU6()}}
    blocks = list(whole._blocks.named_children())
    for stage, repeats in enumerate((1, 2, 2, 3, 3, 4, 1), 1):
        stages[f"stage{stage}"] = {f"_blocks.{number}": block for number, block in blocks[:repeats]}
        del blocks[:repeats]
    stages["top"] = {
        "_conv_head": whole._conv_head,
        "_bn1": whole._bn1,
        "activation": nn.ReLU6(),
        "pool": GlobalMean(),
        "_dropout": whole._dropout,
    }
    return Stages.of(stages), whole._fc


@register("torchvision")
def torchvision_classifier(
    classes: int, image_shape: tuple[int, int, int], name: str, **arguments: Any
) -> tuple[nn.Module, nn.Linear]:
    """torchvision's classifier `name` (densenet121, resnet50, ...), cut at its linear head; `arguments` are its own."""
    from errata.editing.vision import torchvision  # noqa: PLC0415 - slow to import

    _refuse_downloads(arguments, ("weights",))
    try:
        model = torchvision.models.get_model(name, weights=None, num_classes=classes, **arguments)
    except ValueError as error:
        raise ModelError(f"torchvision has no model {name!r}: {error}") from error
    return split_classifier(model, classes, image_shape)


@register("timm")
def timm_classifier(
    classes: int, image_shape: tuple[int, int, int], name: str, **arguments: Any
) -> tuple[nn.Module, nn.Linear]:
    """timm's classifier `name` (resnet18, vit_tiny_patch16_224, ...), cut at its linear head; `arguments` its own."""
    import errata.editing.vision  # noqa: F401, PLC0415 - timm imports torchvision, which must be loaded with care

    try:
        import timm  # noqa: PLC0415
    except ImportError as error:
        raise NotInstalled(f"timm is not installed: {INSTALL}") from error
    _refuse_downloads(arguments, ("pretrained", "checkpoint"))
    if not timm.is_model(name) or ":" in name or "/" in name:  # a hub's name would be fetched
        raise ModelError(f"timm has no model {name!r}; `timm.list_models()` lists them")
    model = timm.create_model(name, num_classes=classes, in_chans=image_shape[2], **arguments)
    return split_classifier(model, classes, image_shape)


def _refuse_downloads(arguments: Mapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """A model's description may name its shape, never where weights come from."""
    for name in arguments:
        if name.startswith(prefixes):
            raise ModelError(f"the argument {name!r} would load weights; give them as model.weights in params.yaml")
