"""The Open Inference Protocol, version 2, beside `/predict`: for clients that speak to Triton, KServe or Seldon."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from fastapi import FastAPI, Request, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from errata.data import layout
from errata.serving import problems
from errata.serving.bodies import Bodies
from errata.serving.follower import Follower
from errata.serving.release import Prediction, Release
from errata.serving.tensors import HEADER_LENGTH, Tensor, read_request, write_answer

MODEL = f"/v2/models/{layout.CLASSIFIER}"
_responses = partial(problems.responses, model=problems.ProtocolProblem)
ROUTES = ("/v2", "/v2/health/live", "/v2/health/ready", MODEL, f"{MODEL}/ready", f"{MODEL}/infer")


Answered = Callable[[NDArray[np.uint8], tuple[Prediction, ...]], None]


class TensorMetadata(BaseModel):
    """An input or an output; -1: any number."""

    model_config = ConfigDict(frozen=True)

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(BaseModel):
    """What `/v2/models/classifier` answers."""

    model_config = ConfigDict(frozen=True)

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class OpenInference:
    """What the routes do."""

    def __init__(self, follower: Follower, answered: Answered) -> None:
        self._follower, self._answered = follower, answered

    @property
    def ready(self) -> bool:
        """Whether a release is served."""
        return self._follower.state.version is not None

    def release(self, name: str, wanted: str | None) -> Release:
        """The release now served, if it is what a path names; raises HTTPException (404), NothingServed."""
        if name != layout.CLASSIFIER:
            raise HTTPException(404, f"there is one model here, {layout.CLASSIFIER}")
        release = self._follower.release
        if wanted not in (None, str(release.version)):
            raise HTTPException(404, f"release {release.version} is served, and no other")
        return release

    def metadata(self, release: Release) -> ModelMetadata:
        """What the model takes and gives."""
        classes = len(release.classes)
        outputs = (
            ("logits", "FP32", (-1, classes)),
            ("probabilities", "FP32", (-1, classes)),
            ("slot", "INT64", (-1,)),
            ("kind", "INT64", (-1,)),
            ("class", "BYTES", (-1,)),
            ("correction", "BYTES", (-1,)),
        )
        return ModelMetadata(
            name=layout.CLASSIFIER,
            versions=(str(release.version),),
            platform="onnxruntime_onnx",
            inputs=(TensorMetadata(name="images", datatype="UINT8", shape=(-1, *release.image_shape)),),
            outputs=tuple(TensorMetadata(name=name, datatype=kind, shape=shape) for name, kind, shape in outputs),
        )

    def infer(self, name: str, wanted: str | None, header_length: str | None, body: bytes) -> Response:
        """Predict a batch. Raises DataError, TooLarge, HTTPException (404), NothingServed."""
        release = self.release(name, wanted)  # taken once: the whole answer is of this release
        asked = read_request(body, header_length, release.image_shape)
        answers = release.classifier.predict(asked.images)
        told = release.tell(asked.images, answers)
        outputs: dict[str, Tensor] = {
            "logits": answers.logits,
            "probabilities": answers.probabilities,
            "slot": answers.slot,
            "kind": answers.kind,
            "class": np.array([each.predicted for each in told]),
            "correction": np.array([each.correction or "" for each in told]),
        }
        content, length = write_answer(name, release.version, asked, outputs)
        self._answered(asked.images, told)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, media_type="application/octet-stream", headers={HEADER_LENGTH: str(length)})


def install(app: FastAPI, follower: Follower, bodies: Bodies, answered: Answered) -> None:
    """Add the routes; `answered` is told of each batch and what was predicted."""
    protocol = OpenInference(follower, answered)

    @app.get("/v2", summary="Open Inference Protocol: the server")
    async def server() -> dict[str, object]:
        return {"name": "errata", "version": _version(), "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live", summary="Open Inference Protocol: alive")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", summary="Open Inference Protocol: a release is served")
    async def ready(response: Response) -> dict[str, bool]:
        response.status_code = 200 if protocol.ready else 503
        return {"ready": protocol.ready}

    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):

        @app.get(f"{path}/ready", responses=_responses(404, 503))
        async def model_ready(name: str, version: str | None = None) -> dict[str, object]:
            release = protocol.release(name, version)
            return {"name": name, "version": str(release.version), "ready": True}

        @app.get(path, responses=_responses(404, 503))
        async def model(name: str, version: str | None = None) -> ModelMetadata:
            return protocol.metadata(protocol.release(name, version))

        @app.post(f"{path}/infer", responses=_responses(404, 408, 413, 422, 503))
        async def infer(request: Request, name: str, version: str | None = None) -> Response:
            length = request.headers.get(HEADER_LENGTH)
            return await bodies.handle(request, partial(protocol.infer, name, version, length))


def _version() -> str:
    try:
        return version("errata-models")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"
