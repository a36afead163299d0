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
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from errata.editing.batches import at_once
from errata.editing.engine import Engine, ThisProcess
from errata.editing.errors import ModelError
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork
from errata.editing.scopes import before, stages
from errata.editing.settings import ViewSettings
from errata.editing.tensors import joined, tensor_of

_AT_ONCE = 64  # blocks that are asked for, and kept, together
_CODE = (
    "features.py",
    "kinds/sight.py",
    "model.py",
    "network.py",
    "networks/adapter.py",
    "networks/adoption.py",
    "networks/architectures.py",
    "networks/kind_edits.py",
    "scopes.py",
    "views.py",
)

_NOT_SEEN = {"classes", "slots", "kinds", "directions"}  # of a spec: features are the same whatever they are

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

    By default nothing is kept. `tell` hears of what, how many of how many are done. The `engine` computes the blocks.
    """

    kept: Kept = field(default_factory=Nothing)
    root: str = ""
    tell: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    engine: Engine = field(default_factory=ThisProcess)

    def of(self, model: EditableNetwork, images: Tensor, layer: Layer = FEATURES) -> Tensor:
        """The rows of uint8 `[n, height, width, channels]`: `[n, d]` on the model's device."""
        parts = images.split(at_once(images.shape[1:]))
        names = [_digest_of(part) for part in parts]
        return joined(self._blocks(model, layer, names, parts), len(images))

    def of_views(
        self, model: EditableNetwork, images: Tensor, draw: Draw, settings: ViewSettings, seed: int,
        layer: Layer = FEATURES,
    ) -> Tensor:  # fmt: skip
        """The rows of the views that `draw` makes of each image: `[n, views, d]`. Views that are kept are not drawn."""
        drawing = f"{draw.__module__}.{draw.__qualname__} {seed} {json.dumps(settings.model_dump(), sort_keys=True)}"
        names = [f"{drawing} {_digest_of(image)}" for image in images]
        blocks = self._blocks(model, layer, names, images, lambda image: draw(image, settings, seed))
        return joined((block[None] for block in blocks), len(images))

    def _blocks(
        self,
        model: EditableNetwork,
        layer: Layer,
        names: Sequence[str],
        parts: Sequence[Tensor] | Tensor,
        images_of: Callable[[Tensor], Tensor] | None = None,
    ) -> Iterator[Tensor]:
        """One block for each name, of the images that `images_of` makes of its part; few are asked for and kept at a
        time."""
        device = model.device
        serves = (
            layer.keep and bool(self.root) and isinstance(model, EditableModel) and backbone_digest(model) == self.root
        )
        prefix = f"{self.root} {_arithmetic(device.type)} {layer.name} "
        keys = [hashlib.sha256(f"{prefix}{name}".encode()).hexdigest() for name in names] if serves else []
        compute = _Compute(model, layer, images_of, torch.get_num_threads(), _arithmetic(device.type))
        for start in range(0, len(names), _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, len(names)))
            known, new = self.kept.get(keys[start : start + _AT_ONCE]) if serves else {}, dict[str, bytes]()
            missing = (_Part(parts[number]) for number in numbers if not serves or keys[number] not in known)
            computed = self.engine.map(compute, missing)
            for number in numbers:
                if serves and keys[number] in known:
                    block = _unpacked(known[keys[number]])
                else:
                    block = next(computed)
                    if serves:
                        new[keys[number]] = _packed(block)
                self.tell("batches of images", number + 1, len(names))
                yield block.to(device)
            if new:
                self.kept.put(new)


NOTHING_KEPT = Features()


@dataclass(frozen=True)
class _Part:
    """Some images of a set; they travel without the others."""

    images: Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.images.detach().cpu().numpy(),)


def _arrived(images: NDArray[np.uint8]) -> _Part:
    return _Part(tensor_of(images))


@dataclass(frozen=True)
class _Compute:
    """What an engine does to a part of the images, to the bit, wherever it does it.

    Raises ModelError on a machine whose arithmetic is not that of the machine that asked.
    """

    model: EditableNetwork
    layer: Layer
    images_of: Callable[[Tensor], Tensor] | None
    threads: int
    arithmetic: str

    def __call__(self, part: _Part) -> Tensor:
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        device = self.model.device
        if (here := _arithmetic(device.type)) != self.arithmetic:
            raise ModelError(
                f"a machine of the cluster computes otherwise than this one ({here.partition(' ')[2]}, here "
                f"{self.arithmetic.partition(' ')[2]}); take machines of one kind with one installation"
            )
        images = part.images if self.images_of is None else self.images_of(part.images)
        with torch.no_grad():
            return self.layer.compute(self.model, images.to(device))


def backbone_digest(model: EditableModel) -> str:
    """SHA-256 over all that features depend on in a model: not its head, and not its patch."""
    spec = {name: value for name, value in asdict(model.spec).items() if name not in _NOT_SEEN}
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
