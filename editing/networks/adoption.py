"""Adopting somebody else's classifier: cut it at its linear head. `editing.pretrained` loads its weights."""

from __future__ import annotations

import torch
from torch import nn

from errata.editing.errors import ModelError


def split_classifier(model: nn.Module, classes: int, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Linear]:
    """`model` as backbone (to `[n, features]`) and linear head; the head's place in it is taken by an identity.

    The head is the last `nn.Linear` with `classes` outputs, and it is tried on two images of `image_shape` (height,
    width, channels) that head after backbone is the whole model. Raises ModelError where it is not.
    """
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if name and isinstance(layer, nn.Linear) and layer.out_features == classes
    ]
    if not found:
        raise ModelError(f"the model has no nn.Linear with {classes} outputs, one for each class; give it such a head")
    name, head = found[-1]
    height, width, channels = image_shape
    images = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole = model(images)
            model.set_submodule(name, nn.Identity())
            features = model(images)
            same = features.shape == (2, head.in_features) and torch.allclose(head(features), whole, atol=1e-4)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the model cannot take images of {image_shape}: {first}; check image_shape") from error
    finally:
        model.train(was_training)
    if not same:
        raise ModelError(f"the model is more than its layer {name!r} applied to features; make that its last step")
    return model, head
