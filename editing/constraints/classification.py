"""The constraint of a correction, that an image is of a class: its `l_e`, and the checks before an editor starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from errata.editing.constraints.demands import Demands, Pointwise, content, gather
from errata.editing.errors import ConstraintError
from errata.editing.model import EditableModel


def violation(logits: Tensor, expected: Tensor) -> Tensor:
    """`l_e = max over y != y_ref of log p(y|x) - log p(y_ref|x)`: `[n]`, at most 0 iff the constraint holds.

    `logits` `[n, classes]`, `expected` int64 `[n]`. The partition function cancels, so that this is a difference of
    logits; it is taken in float32 at least, where a bfloat16 subtraction would round small violations away.
    Source: Sinitsin et al. 2020, section 4.1.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = expected[:, None]
    best_other = logits.scatter(1, index, float("-inf")).amax(1)
    return best_other - logits.gather(1, index)[:, 0]


@dataclass(frozen=True)
class Constraint:
    """What one correction demands: `image` (uint8 `[height, width, channels]`) must be predicted as class `expected`.

    `key` names the correction in messages, slots and diagnostics; it is the correction's identifier in the ledger.
    """

    image: Tensor
    expected: int
    key: str = ""

    @property
    def identity(self) -> tuple[str, int, bytes]:
        """Key, class and pixels."""
        return self.key, self.expected, content(self.image)

    @classmethod
    def demands(cls, model: EditableModel, constraints: Sequence[Constraint]) -> Demands:
        """Images are uint8, or floats on the same 0..255 scale. Raises ConstraintError, naming the constraint, if a
        shape or class does not fit the model, a value is not finite or out of range, or two contradict."""
        demanded: dict[bytes, tuple[int, str]] = {}
        for position, constraint in enumerate(constraints):
            name = constraint.key or f"constraint {position}"
            _check_one(model, constraint, name)
            pixels = content(constraint.image.float())
            expected, other = demanded.setdefault(pixels, (constraint.expected, name))
            if expected != constraint.expected:
                raise ConstraintError(
                    f"{other} and {name} contradict: the same image as class {expected} and as {constraint.expected}; "
                    "remove one"
                )
        dtype = torch.uint8 if all(one.image.dtype == torch.uint8 for one in constraints) else torch.float32
        images = torch.stack([one.image.to(model.device, dtype) for one in constraints])
        classes = torch.tensor([one.expected for one in constraints], device=model.device)
        return Demands(images, classes, Pointwise(violation), images=True)


def check_constraints(model: EditableModel, constraints: Sequence[Constraint]) -> tuple[Tensor, Tensor]:
    """Images `[n, height, width, channels]` and expected classes int64 `[n]` of the constraints, on the model's device.

    Raises ConstraintError if there are none, or as `Constraint.demands` does.
    """
    found = gather(model, constraints)
    return found.inputs, found.targets


def _check_one(model: EditableModel, constraint: Constraint, name: str) -> None:
    image, classes = constraint.image, len(model.spec.classes)
    if tuple(image.shape) != model.spec.image_shape:
        raise ConstraintError(
            f"{name}: the image is of shape {tuple(image.shape)}, the model takes {model.spec.image_shape} "
            "(height, width, channels); fit it first"
        )
    if not 0 <= constraint.expected < classes:
        raise ConstraintError(f"{name}: class {constraint.expected} does not exist; give one of 0 to {classes - 1}")
    if image.dtype == torch.uint8:
        return
    if not image.is_floating_point():
        raise ConstraintError(f"{name}: the image is of type {image.dtype}; give uint8")
    if not bool(torch.isfinite(image).all()):
        raise ConstraintError(f"{name}: the image holds NaN or infinite values; decode it again")
    if bool((image < 0).any()) or bool((image > 255).any()):
        raise ConstraintError(f"{name}: the image has values outside 0 to 255; give it on the scale of uint8")
