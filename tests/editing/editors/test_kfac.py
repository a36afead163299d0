from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from errata.editing.editors.kfac import Kfac, Layer, fit_kfac
from errata.editing.editors.natural import NaturalGradient
from errata.editing.errors import ScopeError
from errata.editing.model import EditableModel, ModelSpec, batched_features
from errata.editing.scopes import Scope
from errata.editing.types import Constraint
from tests.editing.models import (
    small_features,
    small_images,
    small_model,
    small_network,
    small_translations,
    small_writer,
)

CHAIN4 = tuple(f"backbone.chain4.0.{name}.weight" for name in ("conv1", "conv2", "shortcut.0"))


def dense(layer: Layer) -> np.ndarray:
    """The layer's damped Fisher matrix, over weights in row-major order `[outputs, inputs]`."""
    basis = torch.kron(layer.outputs, layer.inputs).double()
    return (basis * layer.root.double().square().flatten() @ basis.T).numpy()


def test_a_linear_layer_has_its_exact_fisher() -> None:
    model = small_model()
    with torch.no_grad():  # predictions that do not depend on the features: then F is exactly a Kronecker product
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.5, -0.3, 0.0, 1.0]))
    images = small_images(1000)
    scope = Scope("head").resolve(model)
    found = [dense(fit_kfac(model, scope, images, damping=1e-9, seed=seed).layers[0]) for seed in range(20)]
    features = batched_features(model, images).double().numpy()
    inputs = np.hstack([features, np.ones((1000, 1))])
    p = np.exp([0.5, -0.3, 0.0, 1.0]) / np.exp([0.5, -0.3, 0.0, 1.0]).sum()
    exact = np.kron(np.diag(p) - np.outer(p, p), inputs.T @ inputs / 1000)
    assert np.linalg.norm(np.mean(found, 0) - exact) < 0.03 * np.linalg.norm(exact)  # 20,000 sampled labels


def test_real_outputs_have_the_fisher_of_a_gaussian_of_unit_variance() -> None:
    network, features = small_network(), small_features(2000)
    scope = Scope("head").resolve(network)
    found = [dense(fit_kfac(network, scope, features, damping=1e-9, seed=seed).layers[0]) for seed in range(10)]
    with torch.no_grad():
        inputs = np.hstack([network.features(features).double().numpy(), np.ones((2000, 1))])
    exact = np.kron(np.eye(2), inputs.T @ inputs / 2000)
    assert np.linalg.norm(np.mean(found, 0) - exact) < 0.02 * np.linalg.norm(exact)  # 20,000 draws


def test_a_linear_layer_at_every_place_of_a_sentence_sums_its_inputs_and_averages_its_gradients() -> None:
    network, pairs = small_writer(), small_translations(50)
    seen: list[torch.Tensor] = []
    out = network.get_submodule("backbone.chain4")
    assert isinstance(out, nn.Linear)
    handle = out.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        network(pairs)
    handle.remove()
    tokens = np.concatenate([seen[0].double().numpy(), np.ones((50, 6, 1))], 2)
    expected = np.einsum("nti,ntj->ij", tokens, tokens) / 50
    (layer,) = fit_kfac(network, Scope("chain4").resolve(network), pairs, damping=0.0, seed=3).layers
    found = (layer.inputs * layer.root.double().square().sum(0).float() @ layer.inputs.T).double().numpy()
    np.testing.assert_allclose(found / np.trace(found), expected / np.trace(expected), atol=1e-5)


def test_inverse_is_that_of_the_damped_matrix() -> None:
    model = small_model()
    scope = Scope("chain4", "head").resolve(model)
    fisher = fit_kfac(model, scope, small_images(200), damping=0.01, seed=0)
    generator = torch.Generator().manual_seed(0)
    params = {name: model.get_parameter(name).detach() for name in fisher.names}
    g = {name: torch.randn(1, *value.shape, generator=generator) for name, value in params.items()}
    solved = fisher.unwhiten(fisher.whiten(g)[0], params)
    head = next(layer for layer in fisher.layers if layer.weight == "head.weight")
    joined = torch.cat([g["head.weight"][0], g["head.bias"][0][:, None]], 1).double().flatten().numpy()
    expected = np.linalg.solve(dense(head), joined).reshape(4, -1)
    np.testing.assert_allclose(solved["head.weight"].numpy(), expected[:, :-1], rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(solved["head.bias"].numpy(), expected[:, -1], rtol=2e-3, atol=1e-3)
    # Damping is a share of the mean eigenvalue product: the least possible eigenvalue of the damped matrix.
    undamped = fit_kfac(model, scope, small_images(200), damping=0.0, seed=0)
    for one, other in zip(fisher.layers, undamped.layers, strict=True):
        products = other.root.double().square()
        torch.testing.assert_close(
            one.root.double().square(), products + 0.01 * products.mean(), rtol=1e-3, atol=1e-4 * float(products.mean())
        )


def test_factors_of_a_convolution_place_by_place() -> None:
    model = small_model()
    name = "backbone.chain4.0.conv1.weight"
    scope = Scope(name).resolve(model)
    images = small_images(6)
    (layer,) = fit_kfac(model, scope, images, damping=0.0, seed=3).layers
    found_a = (layer.inputs * (layer.root.double().square().sum(0) / 1).float() @ layer.inputs.T).numpy()
    hidden = model.normalise(images)
    for stage in ("stem", "chain1", "chain2", "chain3"):
        hidden = model.backbone.get_submodule(stage)(hidden)
    padded = F.pad(hidden, (1, 1, 1, 1)).detach().double().numpy()
    stride = 2
    out = (hidden.shape[2] - 1) // stride + 1
    moment = np.zeros((padded.shape[1] * 9,) * 2)
    for image in padded:
        for y in range(out):
            for x in range(out):
                patch = image[:, y * stride : y * stride + 3, x * stride : x * stride + 3].reshape(-1)
                moment += np.outer(patch, patch) / 6
    # sum over outputs of the products is A times the trace of G
    np.testing.assert_allclose(found_a / np.trace(found_a), moment / np.trace(moment), atol=1e-5)


def test_layers_without_factors_are_left_out() -> None:
    model = small_model()
    assert fit_kfac(model, Scope("chain4").resolve(model), small_images(20), 0.01, 0).names == CHAIN4
    with pytest.raises(ScopeError, match="linear or a convolution"):
        fit_kfac(model, Scope("*.bn1.*").resolve(model), small_images(20), 0.01, 0)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (("head.weight",), ("head.weight",)),
        (("head.bias",), ("head.bias",)),
        (("chain4", "head.weight"), (*CHAIN4, "head.weight")),
        (("chain4", "head.bias"), (*CHAIN4, "head.bias")),
    ],
)
def test_an_edit_of_a_weight_or_a_bias_alone_holds_and_moves_nothing_else(
    patterns: tuple[str, ...], names: tuple[str, ...]
) -> None:
    root, scope = small_model(), Scope(*patterns)
    editor = NaturalGradient(scope)
    fisher = editor.prepare(root, small_images(200), small_images(200))
    assert fisher.names == names
    image = small_images(1, seed=9)[0]
    result = editor.edit(root, [Constraint(image, int(root(image[None]).argmin()))], fisher)
    assert result.success, result.reason
    after = result.model.state_dict()
    moved = {name for name, value in root.state_dict().items() if not torch.equal(value, after[name])}
    assert moved == set(names)


@pytest.mark.parametrize(("part", "columns"), [("weight", slice(0, -1)), ("bias", slice(-1, None))])
def test_a_part_of_a_layer_has_its_block_of_the_whole_layers_fisher(part: str, columns: slice) -> None:
    model, images = small_model(), small_images(300)
    (both,) = fit_kfac(model, Scope("head").resolve(model), images, damping=0.0, seed=4).layers
    (alone,) = fit_kfac(model, Scope(f"head.{part}").resolve(model), images, damping=0.0, seed=4).layers
    whole = dense(both).reshape(4, -1, 4, both.inputs.shape[0])
    block = whole[:, columns, :, columns]
    side = 4 * block.shape[1]
    np.testing.assert_allclose(dense(alone), block.reshape(side, side), atol=1e-5 * np.abs(block).max())


@pytest.mark.parametrize("patterns", [("pair.weight",), ("pair.bias",), ("pair",)])
def test_a_convolution_with_a_bias_takes_either_part(patterns: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    spec = small_model().spec
    stages = nn.Sequential(OrderedDict(pair=nn.Conv2d(1, 6, 3), last=nn.Flatten()))
    root = EditableModel(spec, stages, nn.Linear(6 * 36, 4)).eval()
    editor = NaturalGradient(Scope(*patterns))
    image = small_images(1, seed=9)[0]
    constraint = Constraint(image, int(root(image[None]).argsort()[0, -2]))
    result = editor.edit(root, [constraint], editor.prepare(root, small_images(100), small_images(100)))
    assert result.success, result.reason


def test_empty_kfac_covers_nothing() -> None:
    assert Kfac(()).names == ()


class Tokens(nn.Module):
    """The mean over places of a linear layer that acts on each of them, as a transformer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.gelu(self.mix(images.flatten(2).transpose(1, 2))).mean(1)


def test_a_linear_layer_at_every_place_has_the_factors_of_a_convolution() -> None:
    """Of one by one pixel: both are the same function, so both have the same damped Fisher matrix."""
    torch.manual_seed(0)
    tokens = Tokens()
    pixels = nn.Conv2d(3, 5, 1)
    pixels.load_state_dict({"weight": tokens.mix.weight[:, :, None, None], "bias": tokens.mix.bias})
    convolved = nn.Sequential(OrderedDict(mix=pixels, act=nn.GELU(), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))
    spec = ModelSpec("unregistered", ("a", "b"), (6, 6, 3), (0.5,) * 3, (0.25,) * 3, {}, slots=0)
    images = torch.randint(0, 256, (12, 6, 6, 3), dtype=torch.uint8)
    head = nn.Linear(5, 2)
    found = []
    for backbone in (tokens, convolved):
        model = EditableModel(spec, backbone, head).eval()
        found.append(dense(fit_kfac(model, Scope("mix").resolve(model), images, 0.01, seed=1).layers[0]))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-7)
