"""The file that ships, run in ONNX Runtime. Needs no torch, so that inference services can import it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errata.editing.batches import at_once
from errata.editing.errors import ExportError
from errata.editing.onnx.file import parse_onnx

OUTPUTS = ("logits", "probabilities", "slot")
KIND = "kind"  # the last output of a model that has kinds
_OLDER_OUTPUTS = ("logits", "probabilities", "correction")  # of files exported before the last was named `slot`

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or it puts an identity and a queue into the home


@dataclass(frozen=True)
class Predictions:
    """`logits` and `probabilities` float32 `[n, classes]`; int64 `[n]`: `slot`, which decided, and `kind`, which fired;
    -1 where none did."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    slot: NDArray[np.int64]
    kind: NDArray[np.int64]


class OnnxClassifier:
    """An exported model in ONNX Runtime, on the CPU unless told otherwise."""

    def __init__(
        self,
        source: Path | bytes,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        batch: int = 0,
        threads: int = 0,
    ) -> None:
        """Load `source`, a file or its bytes; `threads=0` leaves their number to ONNX Runtime, `batch=0` goes by
        the size of the images.

        Raises ExportError if it is missing, damaged, not a model of ours, or names files outside itself: those would
        be read from wherever it points, and no digest covers them.
        """
        import onnxruntime  # noqa: PLC0415

        name = "the model" if isinstance(source, bytes) else str(source)
        proto = parse_onnx(source)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        # On a machine with other work a thread that waits by spinning keeps the one that it waits for from running.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        content = proto.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=list(providers))
        except Exception as error:  # ONNX Runtime's own errors have no common base that it exports
            raise ExportError(f"{name} cannot be run: {error}; export it again or restore it") from error
        inputs, outputs = self._session.get_inputs(), tuple(output.name for output in self._session.get_outputs())
        if [value.name for value in inputs] != ["images"] or outputs not in (
            OUTPUTS,
            (*OUTPUTS, KIND),
            _OLDER_OUTPUTS,
        ):
            raise ExportError(f"{name} is no exported Errata model: its outputs are {', '.join(outputs)}")
        shape = inputs[0].shape[1:]
        if len(shape) != 3 or not all(isinstance(each, int) for each in shape):
            raise ExportError(
                f"{name} is no exported Errata model: its images are {shape}, not height, width, channels"
            )
        self.image_shape: tuple[int, int, int] = tuple(shape)
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.batch = batch or at_once(self.image_shape)

    def predict(self, images: NDArray[np.uint8]) -> Predictions:
        """Predictions for uint8 `[n, height, width, channels]`, in batches; raises ExportError on any other input,
        and if the model cannot answer."""
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.image_shape or not len(images):
            raise ExportError(
                f"images of type {images.dtype} and shape {images.shape}; give uint8 [n, {self.image_shape}], n >= 1"
            )
        try:
            parts = [
                self._session.run(None, {"images": np.ascontiguousarray(images[start : start + self.batch])})
                for start in range(0, len(images), self.batch)
            ]
        except Exception as error:  # ONNX Runtime's own, as above
            raise ExportError(f"the model cannot answer: {error}; export it again or restore it") from error
        logits, probabilities, slot, *kind = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Predictions(logits, probabilities, slot, kind[0] if kind else np.full(len(slot), -1))
