"""The file that ships, run in ONNX Runtime. Needs no torch, so that inference services can import it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.errors import ExportError
from editing.onnx_file import parse_onnx

OUTPUTS = ("logits", "probabilities", "correction")


@dataclass(frozen=True)
class Predictions:
    """`logits` and `probabilities` float32 `[n, classes]`, `correction` int64 `[n]` (-1: no slot fired)."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    correction: NDArray[np.int64]


class OnnxClassifier:
    """An exported model in ONNX Runtime, on the CPU unless told otherwise."""

    def __init__(
        self,
        source: Path | bytes,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        batch: int = 256,
        threads: int = 0,
        initializers: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Load `source`, a file or its bytes; `threads=0` leaves their number to ONNX Runtime.

        `initializers` replace those of the file (see `editing.delta.changed_initializers`); the metadata stays the
        file's own.

        Raises ExportError if it is missing, damaged, not a model of ours, or names files outside itself: those would
        be read from wherever it points, and no digest covers them.
        """
        import onnxruntime  # noqa: PLC0415

        name = "the model" if isinstance(source, bytes) else str(source)
        proto = parse_onnx(source)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        self._replaced = _replace(proto, options, initializers or {})
        content = proto.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=list(providers))
        except Exception as error:  # ONNX Runtime's own errors have no common base that it exports
            raise ExportError(f"{name} cannot be run: {error}; export it again or restore it") from error
        inputs, outputs = self._session.get_inputs(), [output.name for output in self._session.get_outputs()]
        if [value.name for value in inputs] != ["images"] or tuple(outputs) != OUTPUTS:
            raise ExportError(f"{name} is no exported Errata model: its outputs are {', '.join(outputs)}")
        height, width, channels = inputs[0].shape[1:]
        self.image_shape: tuple[int, int, int] = (height, width, channels)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.batch = batch

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Predictions for uint8 `[n, height, width, channels]`, in batches; raises ExportError on any other input."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image_shape or not len(images):
            raise ExportError(
                f"images of type {images.dtype} and shape {images.shape}; give uint8 [n, {self.image_shape}], n >= 1"
            )
        parts = [
            self._session.run(list(OUTPUTS), {"images": np.ascontiguousarray(images[start : start + self.batch])})
            for start in range(0, len(images), self.batch)
        ]
        logits, probabilities, correction = (np.concatenate([part[i] for part in parts]) for i in range(3))
        return Predictions(logits, probabilities, correction)


def _replace(proto: Any, options: Any, initializers: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Give ONNX Runtime other initializers; what it returns must outlive the session, which keeps pointers only.

    They are declared external: `SessionOptions.add_initializer` comes after constant folding, which has then folded
    the file's own values into the graph already.
    """
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    values = {name: np.ascontiguousarray(array) for name, array in initializers.items()}
    for tensor in proto.graph.initializer:
        if tensor.name in values:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            entries = {"location": "given", "offset": "0", "length": str(values[tensor.name].nbytes)}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)
    given = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in values.values()]
    if given:
        options.add_external_initializers(list(values), given)
    return given
