"""The editable model: backbone, linear head and zeroed patch slots; saved as safetensors beside JSON, never pickle.

    h      = backbone(normalise(images))            [n, features]
    logits = head(h) + V relu(W z(h) - b)           [n, classes]

`z` is the direction of the whitened features, see `PatchSlots`. Every slot starts as zeros, so an unpatched model is
exactly `head(h)`; a release fills slots, the graph never changes.

A model with kinds (`editing.kinds`) goes another way from a stage on where one of them fires; slots see `h` anyway:

    logits = (kind fires ? head'(tail'(hidden)) : head(h)) + V relu(W z(h) - b)
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, fields, replace
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from errata.editing.batches import at_once
from errata.editing.errors import ModelError
from errata.editing.likelihoods import Categorical
from errata.editing.network import BareTail, EditableNetwork, stages_of
from errata.editing.networks.adapter import with_adapter
from errata.editing.networks.architectures import build
from errata.editing.networks.kind_edits import KindEdits, KindsSpec, channel_statistics
from errata.editing.settings import usual_directions
from errata.editing.tensors import joined
from errata.editing.whitening import WhitenedDirections

_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_STRICT)
class ModelSpec:
    """Everything about a model but its weights.

    `architecture` is a name in `editing.networks.architectures`, with its `arguments`; `image_shape` is height, width,
    channels; `mean` and `std` are per channel on the 0..1 scale; `slots` is how many corrections the patch can hold;
    `kinds` are those of a release that has any; `adapter` is how many hidden units a residual adapter before the head
    has, 0 for none; `directions` is how many the slots look at, 0 for as many as there are features.
    """

    architecture: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    arguments: dict[str, int | float | str | bool]
    slots: int = 256
    kinds: KindsSpec | None = None
    adapter: int = 0
    directions: int = 0

    def to_json(self) -> str:
        """Canonical JSON: `ModelSpec.from_json(spec.to_json()) == spec`. What a model does not have it does not say:
        kinds, an adapter, fewer directions."""
        optional = ("kinds", "adapter", "directions")
        found = {name: value for name, value in asdict(self).items() if value or name not in optional}
        return json.dumps({"format": "errata-model/1", **found}, sort_keys=True, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> ModelSpec:
        """Parse `to_json`'s output; raises ModelError on any other document: no field more, none of another type."""
        try:
            found = TypeAdapter(_Document).validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "it"
            raise ModelError(f"model.json: {where}: {first['msg']}; restore it from its release") from error
        return ModelSpec(**{each.name: getattr(found, each.name) for each in fields(ModelSpec)})


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class _Document(ModelSpec):
    """What model.json holds: a ModelSpec and the name of its format."""

    format: Literal["errata-model/1"]


class PatchSlots(WhitenedDirections):
    """Reserved rectified units beside the head: `V relu(W z - b)`, one slot a correction, all zeros until used.

    They look at the direction `z` of the whitened features.
    """

    def __init__(self, slots: int, features: int, classes: int, directions: int = 0) -> None:
        super().__init__(features, directions)
        self.weight = nn.Parameter(torch.zeros(slots, self.whitening.shape[1]))  # W
        self.threshold = nn.Parameter(torch.zeros(slots))  # b
        self.value = nn.Parameter(torch.zeros(slots, classes))  # V, one row a slot

    def firing(self, directions: Tensor) -> Tensor:
        """How strongly each slot fires on `directions` `[n, r]`: `[n, slots]`, zero where it does not."""
        return torch.relu(F.linear(directions, self.weight, -self.threshold))

    def activations(self, features: Tensor) -> Tensor:
        """How strongly each slot fires on `features` `[n, d]`: `[n, slots]`, zero where it does not."""
        return self.firing(self.directions(features))

    def forward(self, features: Tensor) -> Tensor:
        """What the slots add to the logits: `[n, classes]`."""
        return self.activations(features) @ self.value

    @torch.no_grad()
    def used(self) -> PatchSlots:
        """The slots that add anything, alone: what all of them add, for less work."""
        kept = (self.value != 0).any(1)
        slots = {name: value[kept] for name, value in self.named_parameters()}
        features, directions = self.whitening.shape
        small = PatchSlots(int(kept.sum()), features, self.value.shape[1], directions).to(self.weight)
        small.load_state_dict({**dict(self.named_buffers()), **slots})
        return small

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A model saved before its patch was fitted to a root may lack both; one with slots in use must not.
        if not bool(state_dict.get(prefix + "weight", torch.ones(1)).any()):
            for name in ("centre", "whitening"):
                state_dict.setdefault(prefix + name, getattr(self, name))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Tail(BareTail):
    """A model from stage `cut` on, with slots, sharing its modules; parameters keep their names, so states fit both."""

    def __init__(self, model: EditableModel, cut: int) -> None:
        super().__init__(model.backbone, model.head, cut)
        self.patch = model.patch

    def forward(self, hidden: Tensor) -> Tensor:
        features = self.backbone(hidden)
        logits: Tensor = self.head(features) + self.patch(features)
        return logits


@plain_dataclass(frozen=True)
class Seen:
    """What passes through a backbone, of images `[n]`: `features` `[n, d]`; of a model with kinds also what enters
    the tail of each, `[n, ...]`, and the number of the kind that fires, int64 `[n]`, -1 where none does."""

    features: Tensor
    entering: tuple[Tensor, ...] = ()
    kind: Tensor | None = None


class EditableModel(EditableNetwork):
    """A classifier that takes uint8 images `[n, height, width, channels]` and returns logits `[n, classes]`."""

    head: nn.Linear
    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__(backbone, head, Categorical())
        if head.out_features != len(spec.classes):
            raise ModelError(
                f"the head has {head.out_features} outputs for {len(spec.classes)} classes; make them equal"
            )
        self.spec = spec
        self.patch = PatchSlots(spec.slots, head.in_features, head.out_features, spec.directions)
        self.kinds = KindEdits(spec.kinds, self.state_dict()) if spec.kinds else None
        shape = (1, spec.image_shape[2], 1, 1)
        self.register_buffer("mean", torch.tensor(spec.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).reshape(shape), persistent=False)

    @staticmethod
    def from_spec(spec: ModelSpec) -> EditableModel:
        """A freshly initialised model; raises ModelError if the architecture's name is not registered."""
        backbone, head = build(spec.architecture, len(spec.classes), spec.image_shape, spec.arguments)
        if spec.adapter:
            backbone = with_adapter(backbone, head.in_features, spec.adapter)
        return EditableModel(spec, backbone, head)

    def adapted(self, hidden: int) -> EditableModel:
        """A copy with a residual adapter of `hidden` units before the head: the same function, until that is trained.

        Its patch is not fitted to it yet. Raises ModelError if there is an adapter already, or a kind.
        """
        if self.spec.adapter or self.kinds is not None:
            raise ModelError("only a root without adapter and kinds can be given an adapter; take the original model")
        backbone = with_adapter(copy.deepcopy(self.backbone), self.head.in_features, hidden).to(self.head.weight)
        found = EditableModel(replace(self.spec, adapter=hidden), backbone, copy.deepcopy(self.head))
        return found.to(self.device).train(self.training)

    def look_at(self, directions: int = 0) -> None:
        """Have the slots look at so many directions, or at all if there are no more; 0: at the `usual_directions`.

        The slots are empty after it, and not fitted to the root yet.
        """
        features, classes = self.head.in_features, self.head.out_features
        kept = directions or usual_directions(features)
        self.spec = replace(self.spec, directions=kept if kept < features else 0)
        self.patch = PatchSlots(self.spec.slots, features, classes, self.spec.directions).to(self.head.weight)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 `[n, height, width, channels]` to float `[n, channels, height, width]`, standardised per channel."""
        scaled = images.permute(0, 3, 1, 2).to(self.mean.dtype) / 255.0
        return (scaled - self.mean) / self.std

    def tail(self, cut: int) -> Tail:
        """The model from stage `cut` on, with its slots."""
        return Tail(self, cut)

    def classify(self, features: Tensor) -> Tensor:
        """Logits `[n, classes]` from penultimate features: head plus patch, as where no kind fires."""
        logits: Tensor = self.head(features) + self.patch(features)
        return logits

    def see(self, images: Tensor) -> Seen:
        """What passes through the backbone; only of a model with kinds is more than the features kept."""
        if self.kinds is None:
            return Seen(self.features(images))
        hidden = [self.normalise(images)]
        outputs = {}
        for name, stage in stages_of(self.backbone):
            hidden.append(stage(hidden[-1]))
            outputs[name] = hidden[-1]
        spec, early, concepts = self.kinds.spec, None, None
        if spec.images:
            early = self.kinds.directions(channel_statistics([outputs[name] for name in spec.seen]))
        if spec.concepts:
            concepts = self.patch.directions(hidden[-1])
        cuts = spec.cuts(len(outputs))
        return Seen(hidden[-1], tuple(hidden[cut] for cut in cuts), self.kinds.which(early, concepts))

    def features_and_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate features `[n, d]`, which are the root's where a kind fires as well, and logits `[n, classes]`."""
        seen = self.see(images)
        logits: Tensor = self.head(seen.features)
        if self.kinds is not None and seen.kind is not None:
            cuts = self.kinds.spec.cuts(len(stages_of(self.backbone)))
            for number, (cut, entering) in enumerate(zip(cuts, seen.entering, strict=True)):
                fired = (seen.kind == number).nonzero()[:, 0]
                if len(fired):
                    tail = BareTail(self.backbone, self.head, cut)
                    own = functional_call(tail, self.kinds.replaced_by(number), (entering[fired],))
                    logits = logits.index_copy(0, fired, own)
        return seen.features, logits + self.patch(seen.features)

    def forward(self, images: Tensor) -> Tensor:
        return self.features_and_logits(images)[1]


@torch.no_grad()
def batched_features(model: EditableModel, images: Tensor) -> Tensor:
    """Penultimate features `[n, d]` of any number of images, on the model's device."""
    device = model.head.weight.device
    return joined((model.features(part.to(device)) for part in images.split(at_once(images.shape[1:]))), len(images))


@torch.no_grad()
def batched_both(model: EditableModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features `[n, d]` and logits `[n, classes]` of any number of images, on the model's device."""
    device = model.head.weight.device
    found = [model.features_and_logits(part.to(device)) for part in images.split(at_once(images.shape[1:]))]
    return torch.cat([features for features, _ in found]), torch.cat([logits for _, logits in found])


def fit_patch(model: EditableModel, images: Tensor) -> None:
    """Fit what the patch's slots look at to a root, once, on control or training images uint8 `[n, h, w, c]`."""
    model.patch.fit(batched_features(model, images))


def save_model(model: EditableModel, folder: Path) -> None:
    """Write `model.safetensors` and `model.json` into `folder`; the same weights give the same bytes."""
    from safetensors.torch import save  # noqa: PLC0415 - not on every GPU machine

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(model.state_dict().items())}
    (folder / "model.safetensors").write_bytes(save(tensors))
    (folder / "model.json").write_text(model.spec.to_json())


def load_model(folder: Path) -> EditableModel:
    """The model saved in `folder`, in eval mode; raises ModelError if a file is missing, damaged or does not fit."""
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    try:
        model = EditableModel.from_spec(ModelSpec.from_json((folder / "model.json").read_text()))
        model.load_state_dict(load((folder / "model.safetensors").read_bytes()))
    except OSError as error:
        raise ModelError(f"{error.filename}: {error.strerror}; train a root or restore it") from error
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{folder / 'model.safetensors'}: {error}; restore it from its release") from error
    return model.eval()
