"""The Fisher matrix of a model's predictions, Kronecker-factored layer by layer, and its inverse square root.

For a linear layer F = A (x) G: A is the second moment of its inputs (with a one appended where its bias is edited, that
one alone where only its bias is), G that of the gradients of log p(y|x) with respect to its outputs, y *sampled from
the model*, see `editing.likelihoods` (labels from the data would give the empirical Fisher, another matrix). A
convolution is the same over patches: A sums over places, G averages over them.
Source: Martens & Grosse 2015, section 3; Grosse & Martens 2016, section 3.

In the eigenbases of A and G the matrix is diagonal, so that damping is exact: a share of the mean eigenvalue product
is added to every product. Normalisation and attention have no factors and are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from errata.editing.batches import at_once
from errata.editing.errors import ScopeError
from errata.editing.features import Features, entering
from errata.editing.network import EditableNetwork, Tensors
from errata.editing.scopes import EditableLayers


@dataclass(frozen=True)
class Layer:
    """A layer with its factors: eigenvectors `inputs` `[i, i]` and `outputs` `[o, o]`, and `root` `[o, i]`, the square
    roots of the damped eigenvalue products. `weight` and `bias` are the parameters' names, "" for one that is not
    edited; the last input is the one if there is a bias."""

    weight: str
    bias: str
    inputs: Tensor
    outputs: Tensor
    root: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are edited: the weight, the bias or both."""
        return tuple(name for name in (self.weight, self.bias) if name)


@dataclass(frozen=True)
class Kfac:
    """The factored Fisher matrix F of the editable layers, and the two maps `F^-1/2` needs."""

    layers: tuple[Layer, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters it covers, in order."""
        return tuple(name for layer in self.layers for name in layer.names)

    def whiten(self, gradients: Tensors) -> Tensor:
        """`F^-1/2 g` for `k` gradients, each a tensor `[k, ...]` by parameter: `[k, all parameters]`."""
        columns = []
        for layer in self.layers:
            # the weight is [k, outputs, inputs], also where it is a convolution's, and the bias [k, outputs, 1]
            matrix = torch.cat([gradients[name][..., None].flatten(2) for name in layer.names], dim=2)
            matrix = matrix.to(layer.root.dtype)  # a bfloat16 model's gradients meet float32 factors
            columns.append((layer.outputs.T @ matrix @ layer.inputs / layer.root).flatten(1))
        return torch.cat(columns, dim=1)

    def unwhiten(self, vector: Tensor, shapes: Tensors) -> Tensors:
        """`F^-1/2 x` for one `x` `[all parameters]`, by parameter in the shapes of `shapes`."""
        found: Tensors = {}
        sizes = [layer.root.numel() for layer in self.layers]
        for layer, part in zip(self.layers, vector.split(sizes), strict=True):
            matrix = layer.outputs @ (part.reshape(layer.root.shape) / layer.root) @ layer.inputs.T
            if layer.bias:
                matrix, found[layer.bias] = matrix[:, :-1], matrix[:, -1]
            if layer.weight:
                found[layer.weight] = matrix.reshape(shapes[layer.weight].shape)
        return found


def fit_kfac(
    model: EditableNetwork,
    layers: EditableLayers,
    inputs: Tensor,
    damping: float,
    seed: int,
    features: Features | None = None,
) -> Kfac:
    """Factors of the editable linear and convolutional layers on `inputs` `[n, ...]`.

    Of a layer of which only the weight or only the bias is editable, the factors are those of that part alone.
    `damping` is a share of the mean eigenvalue product, layer by layer; `seed` samples the labels; `features` keeps
    what was computed before. Raises ScopeError if no editable layer is linear or a convolution.
    """
    editable = set(layers.names)
    tail = model.tail(layers.cut)
    modules: dict[str, nn.Module] = {
        name: module
        for name, module in tail.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and not editable.isdisjoint({f"{name}.weight", f"{name}.bias"})
        and getattr(module, "groups", 1) == 1
    }
    moments = _moments(model, tail, modules, layers, inputs, seed, features or Features()) if modules else {}
    if not moments:
        raise ScopeError("none of the editable layers is linear or a convolution; natural gradient needs one")
    found = []
    for name, (a, g) in moments.items():
        input_values, inputs = _eigenbasis(a)
        output_values, outputs = _eigenbasis(g)
        products = output_values.clamp(min=0)[:, None] * input_values.clamp(min=0)
        root = (products + damping * products.mean().clamp(min=torch.finfo(products.dtype).tiny)).sqrt()
        weight, bias = (part if part in editable else "" for part in (f"{name}.weight", f"{name}.bias"))
        found.append(Layer(weight, bias, inputs, outputs, root))
    return Kfac(tuple(found))


def _moments(
    model: EditableNetwork,
    tail: nn.Module,
    modules: dict[str, nn.Module],
    layers: EditableLayers,
    inputs: Tensor,
    seed: int,
    features: Features,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Second moments of inputs and of output gradients, by module; of one that is never called (attention takes its
    weights itself) there are none."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            output = output if output.requires_grad else output.requires_grad_()
            seen[name] = (inputs[0].detach(), output)
            return output

        return modules[name].register_forward_hook(hook)

    handles = [keep(name) for name in modules]
    generator = torch.Generator().manual_seed(seed)
    totals: dict[str, tuple[Tensor, Tensor]] = {}
    try:
        for part in inputs.split(at_once(inputs.shape[1:])):
            hidden = features.of(model, part, entering(model, layers.cut))
            with torch.enable_grad():
                outputs = tail(hidden).float()
                called = [name for name in modules if name in seen]
                loss = model.likelihood.loss(outputs, model.likelihood.draw(outputs, generator))
                gradients = torch.autograd.grad(loss, [seen[name][1] for name in called])
            for name, gradient in zip(called, gradients, strict=True):
                edited = f"{name}.weight" in layers.names, f"{name}.bias" in layers.names
                a, g = _second_moments(modules[name], seen[name][0], gradient, *edited)
                old = totals.get(name, (0.0, 0.0))
                totals[name] = (old[0] + a / len(inputs), old[1] + g / len(inputs))
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    return totals


def _second_moments(
    module: nn.Module, inputs: Tensor, gradient: Tensor, weight: bool, bias: bool
) -> tuple[Tensor, Tensor]:
    """Sums over the batch: of `a a^T` over places, and of `g g^T` averaged over places.

    `a` is the inputs if the `weight` is edited, and a one if the `bias` is.
    """
    places = 1
    if isinstance(module, nn.Conv2d):
        padding = module.padding if not isinstance(module.padding, str) else (0, 0)
        columns = F.unfold(inputs, module.kernel_size, module.dilation, padding, module.stride)  # [n, i, places]
        places = columns.shape[2]
        inputs = columns.transpose(1, 2).flatten(0, 1)
        gradient = gradient.flatten(2).transpose(1, 2).flatten(0, 1)
    elif inputs.ndim > 2:  # a linear layer at every place of a sequence, as in a transformer
        places = inputs.shape[1:-1].numel()
        inputs, gradient = inputs.flatten(0, -2), gradient.flatten(0, -2)
    parts = ([inputs] if weight else []) + ([torch.ones_like(inputs[:, :1])] if bias else [])
    inputs = torch.cat(parts, dim=1)
    inputs, gradient = inputs.float(), gradient.float()
    return inputs.T @ inputs, gradient.T @ gradient / places


def _eigenbasis(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors in float32, which is several times faster at thousands of inputs; some LAPACKs do
    not converge in it on a singular matrix (dead channels), so then in float64."""
    try:
        values, vectors = torch.linalg.eigh(moment)
    except RuntimeError:  # torch's LinAlgError is one
        values, vectors = torch.linalg.eigh(moment.double())
    return values.to(moment.dtype), vectors.to(moment.dtype)
