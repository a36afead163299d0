"""The file that ships: ONNX out of an editable model, run and compared in ONNX Runtime.

    images        uint8   [batch, height, width, channels]     as decoded; normalisation is inside the graph
    logits        float32 [batch, classes]
    probabilities float32 [batch, classes]
    slot          int64   [batch]     which slot decided: of those that fired the one that gave the predicted class
                                      most; -1 where none fired and the root alone spoke
    kind          int64   [batch]     which kind fired, -1 where none did; only of a model that has kinds

The graph of a model without kinds depends on the architecture only, never on a weight's value, and initializers carry
the names of the model's parameters behind `model.`: root and release differ in initializers and metadata alone, which
`editing.onnx.delta` ships. Each kind adds a copy of its tail's nodes, with its own weights in place of those it
replaces.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from errata.editing.errors import ExportError
from errata.editing.kinds.graft import DOMAIN, PLACEHOLDER, graft_tails
from errata.editing.model import EditableModel
from errata.editing.network import BareTail
from errata.editing.onnx.classifier import KIND, OUTPUTS, OnnxClassifier, Predictions
from errata.editing.onnx.file import METADATA_PREFIX, parse_onnx, set_metadata
from errata.editing.onnx.slots import placed, with_branches
from errata.editing.scopes import before, stages
from errata.editing.tensors import tensor_of

__all__ = [
    "METADATA_PREFIX",
    "OnnxClassifier",
    "Parity",
    "Predictions",
    "compare",
    "export_onnx",
    "onnx_bytes",
    "parity",
    "with_weights",
]

OPSET = 20


@dataclass(frozen=True)
class Parity:
    """How far the exported file is from the model in memory, on `n` images."""

    top1_agreement: float
    max_logit_difference: float
    n: int


class _Deployed(nn.Module):
    """What the graph computes; its only child is the model, so that every weight keeps its name behind `model.`.

    It is `EditableModel.forward` in few nodes, for with one image each costs as much as the arithmetic in it: products
    take their bias and the head's logits along, and a vector is normalised by one operator (zero stays zero there).
    """

    def __init__(self, model: EditableModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        patch = self.model.patch
        seen = self.model.see(images)
        bare = self.model.head(seen.features)
        for number, entering in enumerate(seen.entering):
            bare = torch.onnx.ops.symbolic(
                f"{DOMAIN}::{PLACEHOLDER}",
                (entering, bare, seen.kind),
                {"kind": number},
                dtype=bare.dtype,
                shape=bare.shape,
                version=1,
            )
        whitened = patch.whitened(seen.features)
        dtype, shape = whitened.dtype, whitened.shape
        directions = torch.onnx.ops.symbolic(
            "LpNormalization", (whitened,), {"axis": 1, "p": 2}, dtype=dtype, shape=shape
        )
        slots = patch.firing(directions)
        logits, slot = placed(bare, slots, patch.value)
        outputs = (logits, torch.softmax(logits, dim=1), slot)
        return outputs if seen.kind is None else (*outputs, seen.kind)


def export_onnx(model: EditableModel, path: Path, metadata: Mapping[str, str]) -> None:
    """Write `model` as one ONNX file; the same weights and metadata give the same bytes.

    `metadata` names must start with `errata.`. Raises ExportError if they don't, or if the model needs more than a
    single file can hold (2 GB).
    """
    path.write_bytes(onnx_bytes(model, metadata))


def onnx_bytes(model: EditableModel, metadata: Mapping[str, str]) -> bytes:
    """The ONNX file that `export_onnx` writes."""
    # Two images: a batch of 0 or 1 would be taken for a constant.
    example = torch.zeros(2, *model.spec.image_shape, dtype=torch.uint8, device=model.mean.device)
    if model.kinds is None:
        return _finished(with_branches(_simplified(_traced(_Deployed(model), example, "images", OUTPUTS))), metadata)
    whole = with_branches(_simplified(_traced(_Deployed(model), example, "images", (*OUTPUTS, KIND))))
    cuts = model.kinds.spec.cuts(len(stages(model)))
    tails = {cut: _tail(model, example, cut) for cut in sorted(set(cuts))}
    replaced = [
        {name: value.cpu().numpy() for name, value in model.kinds.replaced_by(number).items()}
        for number in range(len(model.kinds))
    ]
    return _finished(graft_tails(whole, [tails[cut] for cut in cuts], replaced), metadata)


def _tail(model: EditableModel, example: Tensor, cut: int) -> Any:
    """The graph of `model` from stage `cut` on, without its slots."""
    with torch.no_grad():
        hidden = before(model, example, cut)
    return _simplified(_traced(BareTail(model.backbone, model.head, cut), hidden, "hidden", ("logits",)))


def with_weights(source: Path | bytes, model: EditableModel, metadata: Mapping[str, str]) -> bytes:
    """The exported file `source` with `model`'s weights: what exporting `model` would give, without tracing it again.

    The graph depends on the architecture alone, so a release needs no export of its own. Raises ExportError if `source`
    is of another architecture.
    """
    proto = parse_onnx(source)
    weights: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for tensor in proto.graph.initializer:
        weight = weights.get(tensor.name.removeprefix("model."))
        if weight is None and not tensor.name.startswith("model."):
            continue  # a constant of the graph
        if weight is None or list(weight.shape) != list(tensor.dims):
            raise ExportError(f"the file's {tensor.name} is not of this architecture; export the root again")
        tensor.raw_data = weight.detach().cpu().contiguous().numpy().tobytes()
    return _finished(proto, metadata)


def _finished(proto: Any, metadata: Mapping[str, str]) -> bytes:
    wrong = sorted(name for name in metadata if not name.startswith(METADATA_PREFIX))
    if wrong:
        raise ExportError(f"metadata {', '.join(wrong)}: every name must start with {METADATA_PREFIX!r}")
    set_metadata(proto, metadata)
    if proto.ByteSize() >= 2**31:
        raise ExportError("the model exceeds 2 GB, which one ONNX file cannot hold; use a smaller architecture")
    return bytes(proto.SerializeToString(deterministic=True))


def _traced(module: nn.Module, example: Tensor, taken: str, given: Sequence[str]) -> Any:
    """An ONNX `ModelProto` straight from the exporter, its input called `taken`, its outputs as in `given`."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: "batch"},),
            opset_version=OPSET,
            input_names=[taken],
            output_names=list(given),
            optimize=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx gave no program; this torch is too old")
    return program.model_proto


def _simplified(proto: Any) -> Any:
    """Fold constants without ever looking at a weight, and drop whatever tells where the export was made.

    The optimiser treats initializers as constants: it would fold batch norms, merge equal tensors and drop zeros, and
    the graph would depend on the weights. So it gets the graph with its weights as inputs, which are put back after.
    """
    import onnx  # noqa: PLC0415
    from onnxscript import optimizer  # noqa: PLC0415

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    hidden = onnx.ModelProto()
    hidden.CopyFrom(proto)
    del hidden.graph.initializer[:]
    for name, tensor in weights.items():
        hidden.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    with _quiet():
        folded = optimizer.optimize(hidden)
    used = {name for node in folded.graph.node for name in node.input}
    inputs = [value for value in folded.graph.input if value.name not in weights]
    del folded.graph.input[:], folded.graph.value_info[:], folded.graph.metadata_props[:]
    folded.graph.input.extend(inputs)
    folded.graph.initializer.extend(weights[name] for name in sorted(used & weights.keys()))
    for tensor in folded.graph.initializer:
        del tensor.metadata_props[:]
    for node in folded.graph.node:  # stack traces and file names of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*folded.graph.input, *folded.graph.output):
        del value.metadata_props[:]
    folded.producer_name, folded.producer_version = "errata", ""
    return folded


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress, and warnings about its own internals, are nothing a user can act on."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parity(model: EditableModel, classifier: OnnxClassifier, images: NDArray[np.uint8]) -> Parity:
    """Compare the exported file with `model` on real `images`, uint8 `[n, height, width, channels]`, batch by batch."""
    model.eval()
    found = []
    with torch.no_grad():
        for batch in tensor_of(np.ascontiguousarray(images)).split(classifier.batch):
            native = model(batch.to(model.mean.device)).float().cpu().numpy()
            found.append(compare(native, classifier.predict(batch.numpy()).logits))
    agreeing = sum(round(each.top1_agreement * each.n) for each in found)
    return Parity(agreeing / len(images), max(each.max_logit_difference for each in found), len(images))


def compare(native: NDArray[np.float32], exported: NDArray[np.float32]) -> Parity:
    """Compare logits `[n, classes]` of the same images; raises ExportError if they are not finite."""
    difference = np.abs(native - exported).max()
    if not np.isfinite(difference):
        raise ExportError("logits are NaN or infinite; the model is damaged")
    return Parity(float((native.argmax(1) == exported.argmax(1)).mean()), float(difference), len(native))
