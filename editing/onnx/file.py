"""An ONNX file as data: parsed, checked to be whole, its metadata set. Needs no torch, so that clients can use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from errata.editing.errors import ExportError

METADATA_PREFIX = "errata."


def parse_onnx(source: Path | bytes) -> Any:
    """An ONNX `ModelProto` from a self-contained file or its bytes.

    Raises ExportError if it is missing, damaged, or keeps weights outside itself.
    """
    import onnx  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # noqa: PLC0415

    name = "the model" if isinstance(source, bytes) else str(source)
    try:
        proto = onnx.ModelProto.FromString(source if isinstance(source, bytes) else source.read_bytes())
    except OSError as error:
        raise ExportError(f"{name}: {error.strerror}; export the model first") from error
    except DecodeError as error:
        raise ExportError(f"{name} is not an ONNX file or is damaged; restore it from its release") from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(proto)):
        raise ExportError(f"{name} keeps weights outside itself, where no digest covers them; export it as one file")
    return proto


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor anywhere in a protobuf message: initializers, attributes, subgraphs, functions."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                yield from _tensors(item)


def set_metadata(proto: Any, metadata: Mapping[str, str]) -> None:
    """Replace the metadata of an ONNX `ModelProto` by `metadata`, in canonical order."""
    del proto.metadata_props[:]
    for name in sorted(metadata):
        proto.metadata_props.add(key=name, value=metadata[name])
