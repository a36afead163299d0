"""What changed between two exports of one architecture: a few kilobytes that turn the root's ONNX file into a release.

A delta is a safetensors file. For each initializer that changed it holds `NAME:rows` (int32, which rows of the first
axis changed) and `NAME:values` (those rows), or `NAME:values` alone where that is smaller; its header holds the digests
of both files and the release's metadata. One patch slot of 512 features is about 2.1 kB. The root counts without its
metadata: the delta replaces all of it, so it applies to the root as it shipped, whatever that release was numbered.

The graph of a release with kinds is another than the root's: then the delta holds it as well, without the weights that
the root has (`:graph`), and is of format errata-delta/2.

    apply_delta(root, make_delta(root, release)) == release        byte for byte
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errata.editing.errors import Damaged, ExportError
from errata.editing.onnx.file import parse_onnx, set_metadata

FORMAT, FORMAT_WITH_GRAPH = "errata-delta/1", "errata-delta/2"
_ROWS, _VALUES, _GRAPH = ":rows", ":values", ":graph"


@dataclass(frozen=True)
class _Header:
    root_sha256: str
    release_sha256: str
    onnx_metadata: dict[str, str]


def make_delta(root: bytes, release: bytes) -> bytes:
    """The delta from one ONNX file to another.

    Raises ExportError if their graphs differ in more than initializers and kinds: if a weight of the root is gone.
    """
    from onnx import numpy_helper  # noqa: PLC0415
    from safetensors.numpy import save  # noqa: PLC0415

    before, after = parse_onnx(root), parse_onnx(release)
    changed: dict[str, NDArray[Any]] = {}
    known = {tensor.name: tensor for tensor in before.graph.initializer}
    skeleton = _skeleton(after)
    same_graph = _skeleton(before) == skeleton
    if not same_graph:
        if not _weights(before) <= _weights(after):
            raise ExportError("root and release are not of one graph; export both again with the same architecture")
        changed[_GRAPH] = np.frombuffer(skeleton, np.uint8)
    for new in after.graph.initializer:
        old = known.get(new.name)
        if old is None or _form(old) != _form(new):
            changed[new.name + _VALUES] = numpy_helper.to_array(new)
        elif old.raw_data != new.raw_data:
            changed |= _difference(new.name, numpy_helper.to_array(old), numpy_helper.to_array(new))
    header = {
        "format": FORMAT if same_graph else FORMAT_WITH_GRAPH,
        "root_sha256": _digest(_without_metadata(before)),
        "release_sha256": _digest(release),
        "onnx_metadata": json.dumps({entry.key: entry.value for entry in after.metadata_props}, sort_keys=True),
    }
    delta = _canonical(bytes(save(dict(sorted(changed.items())), header)))
    apply_delta(root, delta)  # what would not come back byte for byte must not ship
    return delta


def apply_delta(root: bytes, delta: bytes) -> bytes:
    """The release's ONNX file. Raises Damaged if `root` is not the delta's root or the result not its release, and
    ExportError if either cannot be read."""
    header, tensors = _read(delta)
    proto = parse_onnx(root)
    _check("the root", _without_metadata(proto), header.root_sha256)
    initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
    if _GRAPH in tensors:
        proto = parse_onnx(tensors[_GRAPH].tobytes())
        theirs = initializers
        initializers = {tensor.name: tensor for tensor in proto.graph.initializer}
        for name, tensor in initializers.items():
            if name in theirs and _form(theirs[name]) == _form(tensor):
                tensor.raw_data = theirs[name].raw_data
    for name, array in _changed_initializers(initializers, tensors).items():
        initializers[name].raw_data = array.tobytes()
    set_metadata(proto, header.onnx_metadata)
    release = bytes(proto.SerializeToString(deterministic=True))
    _check("the release", release, header.release_sha256)
    return release


def _changed_initializers(root: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The changed initializers in full, by name, from those of the root and the delta's tensors."""
    from onnx import numpy_helper  # noqa: PLC0415

    changed: dict[str, NDArray[Any]] = {}
    for entry in tensors:
        if not entry.endswith(_VALUES):
            continue
        name = entry.removesuffix(_VALUES)
        if name not in root:
            raise ExportError(f"the delta changes {name}, which the root does not have; it belongs to another root")
        rows = tensors.get(name + _ROWS)
        if not root[name].raw_data:  # one that the root does not have
            root[name].raw_data = tensors[entry].tobytes()
        array = numpy_helper.to_array(root[name]).copy()
        try:
            if rows is None:
                array[...] = tensors[entry]
            else:
                array[rows] = tensors[entry]
        except (IndexError, ValueError) as error:
            raise ExportError(f"the delta's {name} does not fit the root's: {error}; it belongs to another") from error
        changed[name] = array
    return changed


def _difference(name: str, old: NDArray[Any], new: NDArray[Any]) -> dict[str, NDArray[Any]]:
    if new.ndim == 0:
        return {name + _VALUES: new}
    # Bytes, not values: -0.0 equals 0.0, and NaN nothing.
    differs = (old.reshape(len(old), -1).view(np.uint8) != new.reshape(len(new), -1).view(np.uint8)).any(1)
    rows = np.flatnonzero(differs).astype(np.int32)
    if rows.nbytes + new[rows].nbytes >= new.nbytes:
        return {name + _VALUES: np.ascontiguousarray(new)}
    return {name + _ROWS: rows, name + _VALUES: np.ascontiguousarray(new[rows])}


def _skeleton(proto: Any) -> bytes:
    """Everything of an ONNX file but the initializers' content and the metadata."""
    bare = type(proto)()
    bare.CopyFrom(proto)
    set_metadata(bare, {})
    for tensor in bare.graph.initializer:
        tensor.ClearField("raw_data")
    return bytes(bare.SerializeToString(deterministic=True))


def _weights(proto: Any) -> set[tuple[Any, ...]]:
    """The forms of a file's weights; constants of the graph have no dot in their names."""
    return {_form(tensor) for tensor in proto.graph.initializer if "." in tensor.name}


def _form(tensor: Any) -> tuple[Any, ...]:
    """All of an initializer but its content."""
    return tensor.name, tensor.data_type, tuple(tensor.dims)


def _canonical(delta: bytes) -> bytes:
    """The same safetensors file with its header's keys in order: the library writes metadata in random order."""
    length = int.from_bytes(delta[:8], "little")
    header = json.dumps(json.loads(delta[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the tensors stay aligned
    return len(header).to_bytes(8, "little") + header + delta[8 + length :]


def _read(delta: bytes) -> tuple[_Header, dict[str, NDArray[Any]]]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        tensors = load(delta)
        length = int.from_bytes(delta[:8], "little")
        raw: dict[str, str] = json.loads(delta[8 : 8 + length])["__metadata__"]
        if raw["format"] not in (FORMAT, FORMAT_WITH_GRAPH):
            raise ExportError(f"the delta is of format {raw['format']}, not {FORMAT}; make it again")
        metadata = {str(name): str(value) for name, value in json.loads(raw["onnx_metadata"]).items()}
        return _Header(raw["root_sha256"], raw["release_sha256"], metadata), tensors
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"the delta cannot be read ({error!r}); restore it from its release") from error


def _without_metadata(proto: Any) -> bytes:
    """An ONNX file's bytes as if it had no metadata."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    set_metadata(proto, {})
    bare = bytes(proto.SerializeToString(deterministic=True))
    set_metadata(proto, metadata)
    return bare


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _check(name: str, content: bytes, sha256: str) -> None:
    found = _digest(content)
    if found != sha256:
        raise Damaged(f"{name} has SHA-256 {found}, the delta says {sha256}; fetch both again from one bundle")
