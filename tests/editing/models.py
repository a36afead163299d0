"""Small models for the tests: a narrow residual network on 8x8 images, and a perceptron with real outputs."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from errata.editing.model import EditableModel, ModelSpec
from errata.editing.network import EditableNetwork


def small_model(seed: int = 0, classes: int = 4, slots: int = 8) -> EditableModel:
    """An untrained network with settled batch-norm statistics and non-trivial affine parameters, in eval mode."""
    torch.manual_seed(seed)
    names = tuple(f"class {index}" for index in range(classes))
    spec = ModelSpec("resnet", names, (8, 8, 1), (0.4,), (0.3,), {"width": 4, "blocks": 1}, slots)
    model = EditableModel.from_spec(spec).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".bn" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        for step in range(20):
            model(small_images(64, seed=1000 + step))
    return model.eval()


def small_images(count: int, seed: int = 1) -> Tensor:
    """Random uint8 images `[count, 8, 8, 1]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 8, 8, 1), generator=generator, dtype=torch.uint8)


def small_network(seed: int = 0) -> EditableNetwork:
    """An untrained perceptron from five features to two real outputs; its stages are called as those of the model."""
    torch.manual_seed(seed)
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        chain3=nn.Sequential(nn.Linear(5, 16), nn.Tanh()), chain4=nn.Sequential(nn.Linear(16, 16), nn.Tanh())
    )
    return EditableNetwork(nn.Sequential(stages), nn.Linear(16, 2)).eval()


def small_features(count: int, seed: int = 1) -> Tensor:
    """Random features `[count, 5]`."""
    return torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
