"""What a bundle holds for inference clients beside the model: a Triton configuration, the labels, and the delta.

classifier/config.pbtxt          the bundle is a Triton model repository as it is
classifier/labels.txt            one class a line, in the order of the outputs
classifier/<version>/model.onnx
patch.safetensors                turns the root's ONNX file into this release's (`errata apply`)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from errata.data import layout
from errata.editing.errors import DataError
from errata.editing.model import ModelSpec
from errata.editing.onnx.classifier import OUTPUTS
from errata.editing.onnx.delta import make_delta
from errata.editing.onnx.file import parse_onnx
from errata.flows.workspace import Workspace

MAX_BATCH = 256


def inference_files(workspace: Workspace, spec: ModelSpec, release: bytes) -> dict[str, bytes]:
    """The files by name, of the ONNX file `release` of a model `spec`; raises OSError if the workspace has no root."""
    return {
        layout.TRITON_CONFIG: triton_config(spec, [each.name for each in parse_onnx(release).graph.output]).encode(),
        layout.LABELS: labels(spec).encode(),
        layout.DELTA: make_delta((workspace.root / "root.onnx").read_bytes(), release),
    }


def labels(spec: ModelSpec) -> str:
    """One class a line; raises DataError if a name has lines of its own."""
    if wrong := [name for name in spec.classes if name.splitlines() != [name]]:
        raise DataError(f"the class {wrong[0]!r} is not one line of text; rename it in the data set")
    return "".join(f"{name}\n" for name in spec.classes)


def triton_config(spec: ModelSpec, outputs: Sequence[str] = OUTPUTS) -> str:
    """A `ModelConfig` in protobuf text format (Triton Inference Server's model configuration).

    `outputs` are the names in the file. Batches of any size up to MAX_BATCH; slot and kind have no dimension but the
    batch, which Triton wants written as `dims: [ 1 ]` reshaped to none.
    """
    kinds = (
        ("TYPE_FP32", len(spec.classes), ""),
        ("TYPE_FP32", len(spec.classes), f'label_filename: "{PurePosixPath(layout.LABELS).name}"'),
        ("TYPE_INT64", 1, "reshape: { shape: [ ] }"),
        ("TYPE_INT64", 1, "reshape: { shape: [ ] }"),
    )[: len(outputs)]
    lines = [
        f'name: "{layout.CLASSIFIER}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH}",
        f'input [ {{ name: "images" data_type: TYPE_UINT8 dims: {list(spec.image_shape)} }} ]',
        *(
            " ".join(f'output [ {{ name: "{name}" data_type: {kind} dims: [{size}] {more} }} ]'.split())
            for name, (kind, size, more) in zip(outputs, kinds, strict=True)
        ),
        "dynamic_batching { }",
    ]
    return "\n".join(lines) + "\n"
