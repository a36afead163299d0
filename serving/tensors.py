"""Requests and answers of the Open Inference Protocol, version 2: JSON, and tensors as raw bytes behind it.

A body is JSON, or JSON of as many bytes as the header Inference-Header-Content-Length says, and then the raw bytes of
each tensor whose `parameters` say `binary_data_size`, in order: Triton's binary tensor data extension. Raw numbers are
little-endian; of texts each has its length before it, in four bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from errata.data.records import Count, wrong_fields
from errata.editing.errors import DataError

HEADER_LENGTH = "Inference-Header-Content-Length"
NOT_OFFERED = {"classification", "shared_memory_region"}  # of Triton's, which change what an answer is
MOST_IMAGES = 256  # in one request, as a bundle's config.pbtxt tells Triton
DATATYPES = {"f": "FP32", "i": "INT64", "U": "BYTES"}  # by NumPy's kind of an output
Short = Annotated[str, StringConstraints(max_length=200)]
Tensor = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.str_]
_TOLERANT = ConfigDict(strict=True, frozen=True)  # other fields are allowed: the protocol has extensions


class _Input(BaseModel):
    model_config = _TOLERANT

    name: Short
    shape: Annotated[list[Count], Field(max_length=8)]
    datatype: Short
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class _Wanted(BaseModel):
    model_config = _TOLERANT

    name: Short
    parameters: dict[str, Any] = {}


class _Request(BaseModel):
    model_config = _TOLERANT

    id: Short = ""
    parameters: dict[str, Any] = {}
    inputs: Annotated[list[_Input], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[_Wanted], Field(max_length=50)] = []


@dataclass(frozen=True)
class Inference:
    """What is asked: `images` uint8 `[n, height, width, channels]`; `wanted`: outputs by name, and which as raw bytes
    (empty: all of them, in the form that `raw` says)."""

    id: str
    images: NDArray[np.uint8]
    wanted: Mapping[str, bool]
    raw: bool


def read_request(body: bytes, header_length: str | None, image_shape: tuple[int, int, int]) -> Inference:
    """The request in a body, for a model of images of `image_shape`. Raises DataError, which says what is wrong."""
    size = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 20 or int(header_length) > len(body):
            raise DataError(f"{HEADER_LENGTH} is {header_length[:20]!r}, and the body has {len(body)} bytes")
        size = int(header_length)
    try:
        request = _Request.model_validate_json(body[:size])
    except ValidationError as error:
        raise DataError(f"not a request of the Open Inference Protocol: {wrong_fields(error, 'the body')}") from error
    given = [*(each.parameters for each in request.inputs), *(each.parameters for each in request.outputs)]
    if refused := sorted(NOT_OFFERED & {name for parameters in given for name in parameters}):
        raise DataError(f"{refused[0]!r} is of an extension that is not offered; ask for the output `class`, say")
    raw = request.parameters.get("binary_data_output") is True
    wanted = {each.name: each.parameters.get("binary_data", raw) is True for each in request.outputs}
    return Inference(request.id, _images(request.inputs[0], body[size:], image_shape), wanted, raw)


def _images(given: _Input, rest: bytes, image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The images of the one input. Raises DataError."""
    form = f"[n, {', '.join(map(str, image_shape))}]"
    if (given.name, given.datatype) != ("images", "UINT8") or tuple(given.shape[1:]) != image_shape:
        raise DataError(f"give one input `images` of datatype UINT8 and shape {form}")
    if not 1 <= given.shape[0] <= MOST_IMAGES:
        raise DataError(f"{given.shape[0]} images in one request; give 1 to {MOST_IMAGES}")
    count = math.prod(given.shape)
    if "binary_data_size" in given.parameters:
        if given.data is not None or given.parameters["binary_data_size"] != len(rest) or len(rest) != count:
            raise DataError(
                f"{len(rest)} bytes came behind the JSON; shape {given.shape} and binary_data_size say other"
            )
        return np.frombuffer(rest, np.uint8).reshape(given.shape)
    if rest:
        raise DataError("there are bytes behind the JSON, and no binary_data_size says what they are")
    try:
        values = np.asarray(given.data or [])
    except ValueError:
        raise DataError("`data` is ragged; give numbers, flat or nested by shape") from None
    nested = values.shape in {(count,), tuple(given.shape)}
    if not nested or values.dtype.kind != "i" or values.min() < 0 or values.max() > 255:
        raise DataError(f"`data` must be {count} whole numbers from 0 to 255, flat or nested by shape")
    return values.astype(np.uint8).reshape(given.shape)


def write_answer(name: str, version: int, asked: Inference, outputs: Mapping[str, Tensor]) -> tuple[bytes, int | None]:
    """The body of an answer, and the length of its JSON where raw bytes follow. Raises DataError."""
    if unknown := set(asked.wanted) - set(outputs):
        raise DataError(f"there is no output {min(unknown)[:50]!r}; there are {', '.join(outputs)}")
    told, blobs = [], []
    for each, raw in (asked.wanted or dict.fromkeys(outputs, asked.raw)).items():
        values = outputs[each]
        described = {"name": each, "datatype": DATATYPES[values.dtype.kind], "shape": list(values.shape)}
        if raw:
            blobs.append(_bytes(values))
            told.append({**described, "parameters": {"binary_data_size": len(blobs[-1])}})
        else:
            told.append({**described, "data": values.ravel().tolist()})
    answer = {"model_name": name, "model_version": str(version), "outputs": told}
    head = json.dumps({**answer, "id": asked.id} if asked.id else answer).encode()
    return head + b"".join(blobs), len(head) if blobs else None


def _bytes(values: Tensor) -> bytes:
    if values.dtype.kind != "U":
        return values.astype(values.dtype.newbyteorder("<")).tobytes()
    texts = [str(each).encode() for each in values.ravel()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
