"""What a network makes of images, computed once: features by layer, of control images and of views of corrections.

An edit changes what comes after the layer that it looks at, never what comes before; so all that comes before is the
root's, for good. It is computed in blocks which do not depend on what else is asked for: an image set goes through the
network in its own order, `at_once` images at a time, and the views of one image go by themselves. A block that is kept
is the very numbers that computing it would give, and whoever has kept nothing computes the same.

A block is kept under the digest of everything that it depends on: the backbone's weights and description, the code that
computes it, the machine's arithmetic, the layer, and the images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from errata.editing.batches import at_once
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork
from errata.editing.scopes import before, stages
from errata.editing.settings import ViewSettings
from errata.editing.tensors import joined

_AT_ONCE = 64  # blocks that are asked for, and kept, together
_CODE = (
    "adapter.py",
    "architectures.py",
    "adoption.py",
    "features.py",
    "model.py",
    "network.py",
    "scopes.py",
    "views.py",
)

Draw = Callable[[Tensor, ViewSettings, int], Tensor]


class Kept(Protocol):
    """Blocks of bytes by key (hexadecimal). What it gives is what was put there, or nothing."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Those of the blocks that are there."""
        ...

    def put(self, blocks: Mapping[str, bytes]) -> None:
        """Keep the blocks."""
        ...


@dataclass(frozen=True)
class Nothing:
    """Keeps nothing."""

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        return {}

    def put(self, blocks: Mapping[str, bytes]) -> None:
        pass


@dataclass(frozen=True)
class Layer:
    """A function of a model's backbone, from inputs `[n, ...]` to a row each, float `[n, d]`.

    Its `name` stands for it in keys: two functions have two names. What is too large for its worth is not to `keep`.
    """

    name: str
    compute: Callable[[EditableNetwork, Tensor], Tensor]
    keep: bool = True


FEATURES = Layer("features", EditableNetwork.features)


def entering(model: EditableNetwork, cut: int) -> Layer:
    """What reaches stage `cut`; kept after the last one only, for maps of features are larger than images."""
    if cut == len(stages(model)):
        return FEATURES
    return Layer(f"before stage {cut}", lambda some, images: before(some, images, cut), keep=False)


@dataclass(frozen=True)
class Features:
    """Computes layers in canonical blocks, or takes them from `kept`, which serves the backbone of digest `root` only.

    By default nothing is kept. `tell` hears of what, how many of how many are done.
    """

    kept: Kept = field(default_factory=Nothing)
    root: str = ""
    tell: Callable[[str, int, int], None] = lambda _what, _done, _total: None

    def of(self, model: EditableNetwork, images: Tensor, layer: Layer = FEATURES) -> Tensor:
        """The rows of uint8 `[n, height, width, channels]`: `[n, d]` on the model's device."""
        parts = images.split(at_once(images.shape[1:]))
        names = [_digest_of(part) for part in parts]
        return joined(self._blocks(model, layer, names, lambda one: parts[one]), len(images))

    def of_views(
        self, model: EditableNetwork, images: Tensor, draw: Draw, settings: ViewSettings, seed: int,
        layer: Layer = FEATURES,
    ) -> Tensor:  # fmt: skip
        """The rows of the views that `draw` makes of each image: `[n, views, d]`. Views that are kept are not drawn."""
        drawing = f"{draw.__module__}.{draw.__qualname__} {seed} {json.dumps(settings.model_dump(), sort_keys=True)}"
        names = [f"{drawing} {_digest_of(image)}" for image in images]
        blocks = self._blocks(model, layer, names, lambda one: draw(images[one], settings, seed))
        return joined((block[None] for block in blocks), len(images))

    def _blocks(
        self, model: EditableNetwork, layer: Layer, names: Sequence[str], images_of: Callable[[int], Tensor]
    ) -> Iterator[Tensor]:
        """One block for each name, whose images `images_of` its number gives; few are asked for and kept at a time."""
        device = model.device
        serves = (
            layer.keep and bool(self.root) and isinstance(model, EditableModel) and backbone_digest(model) == self.root
        )
        prefix = f"{self.root} {_arithmetic(device.type)} {layer.name} "
        keys = [hashlib.sha256(f"{prefix}{name}".encode()).hexdigest() for name in names] if serves else []
        for start in range(0, len(names), _AT_ONCE):
            known, new = self.kept.get(keys[start : start + _AT_ONCE]) if serves else {}, dict[str, bytes]()
            for number in range(start, min(start + _AT_ONCE, len(names))):
                block = _unpacked(known.pop(keys[number])) if serves and keys[number] in known else None
                if block is None:
                    with torch.no_grad():
                        block = layer.compute(model, images_of(number).to(device))
                    if serves:
                        new[keys[number]] = _packed(block)
                self.tell("batches of images", number + 1, len(names))
                yield block.to(device)
            if new:
                self.kept.put(new)


def backbone_digest(model: EditableModel) -> str:
    """SHA-256 over all that features depend on in a model: not its head, and not its patch."""
    spec = {name: value for name, value in asdict(model.spec).items() if name not in {"classes", "slots", "kinds"}}
    if not model.spec.adapter:
        del spec["adapter"]
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True, default=str).encode())
    for name, tensor in sorted({**model.backbone.state_dict(), "mean": model.mean, "std": model.std}.items()):
        digest.update(f"\0{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def after_the_backbone(model: EditableModel, root: EditableModel) -> bool:
    """Whether a model is a root with another head and patch: then its logits are a function of the root's features."""
    return backbone_digest(model) == backbone_digest(root) and model.state_dict().keys() == root.state_dict().keys()


@cache
def _arithmetic(device: str) -> str:
    """What the last bits of features depend on besides their inputs: code, torch, the kind of processor, threads."""
    code = hashlib.sha256()
    for name in _CODE:
        code.update((Path(__file__).parent / name).read_bytes())
    place = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    return f"{code.hexdigest()} {torch.__version__} {place} {torch.get_num_threads()}"


def _digest_of(images: Tensor) -> str:
    content = images.detach().cpu().contiguous().numpy()
    return hashlib.sha256(f"{content.shape} {content.dtype}".encode() + content.tobytes()).hexdigest()


def _packed(block: Tensor) -> bytes:
    array = block.detach().cpu().contiguous().numpy()
    return json.dumps([str(array.dtype), *array.shape]).encode() + b"\n" + array.tobytes()


def _unpacked(content: bytes) -> Tensor:
    head, _, body = content.partition(b"\n")
    kind, *shape = json.loads(head)
    return torch.from_numpy(np.frombuffer(bytearray(body), kind).reshape(shape))
