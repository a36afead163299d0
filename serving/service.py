"""The reference inference service: `/predict`, `/report`, what became of reports, health, metrics. See docs/serving.md.

An image is the body of its request, or the one file of a form there, read into memory under limits: nothing that a
client sends names a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Literal

import numpy as np
from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request, Response
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from errata.data.belief.report_states import State, report_state
from errata.data.images import decode_image, fit_image
from errata.data.inbox.refusals import Reason
from errata.data.reports import file_report
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NotStored, UnknownPrediction
from errata.serving import open_inference, problems
from errata.serving.bodies import Bodies
from errata.serving.follower import Follower
from errata.serving.forms import image_file
from errata.serving.metrics import Measured, Metrics
from errata.serving.release import Prediction
from errata.serving.settings import Settings
from errata.serving.shadow import Shadow
from errata.serving.tokens import Made, Tokens

ROUTES = ("/predict", "/report", "/healthz", "/metrics", *open_inference.ROUTES)
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}
            },
        },
    }
}


class Answer(BaseModel):
    """What `/predict` answers."""

    model_config = ConfigDict(frozen=True)

    prediction: str = Field(description="names this prediction in a report")
    predicted: str = Field(serialization_alias="class", description="the most probable class")
    probabilities: dict[str, float] = Field(description="by class")
    version: int = Field(description="the release that predicted")
    correction: str | None = Field(description="the correction that decided, if one did: its identity in the ledger")
    kind: str | None = Field(description="the kind that fired, if one did: its name; its corrections are in edit.json")


class Filed(BaseModel):
    """What `/report` answers."""

    model_config = ConfigDict(frozen=True)

    report: str = Field(description="the report's identity; the same claim again has the same")


class Became(BaseModel):
    """What `/reports/ID` answers. Who else said what, and how doubtful a claim is, the operator alone is told."""

    model_config = ConfigDict(frozen=True)

    report: str = Field(description="the report's identity")
    state: State = Field(description="where it stands")
    reason: Reason | None = Field(description="why it was refused, if it was")
    version: int | None = Field(description="the release that consumed it, if one did")
    more: int | None = Field(description="how many more people would have to say the same, where it waits for those")


class Health(BaseModel):
    """What `/healthz` answers: `behind` serves an older release than live.json names, `empty` nothing at all."""

    model_config = ConfigDict(frozen=True)

    status: Literal["ok", "behind", "empty"]
    version: int | None = Field(description="the release now served")
    wanted: int | None = Field(description="the release that live.json names")
    manifest_sha256: str = Field(description="digest of the manifest of the release now served")


class Service:
    """What the routes do, once a body is in memory. Blocking: run it on a worker thread."""

    def __init__(
        self, storage: Storage, follower: Follower, settings: Settings, tokens: Tokens, shadow: Shadow | None
    ) -> None:
        self.storage = storage
        self.follower = follower
        self.settings = settings
        self.tokens = tokens
        self.shadow = shadow
        self.metrics = Metrics(follower, shadow)

    def predict(self, content: bytes) -> Answer:
        """Predict one image file. Raises DataError, TooLarge, NothingServed."""
        release = self.follower.release  # taken once: the whole answer is of this release
        image = fit_image(decode_image(content, self.settings.image), release.image_shape)
        (prediction,) = predictions = release.predict(image[None])
        self.answered(image[None], predictions)
        made = Made(hashlib.sha256(content).hexdigest(), prediction.predicted, prediction.version)
        return Answer(
            prediction=self.tokens.issue(made),
            predicted=prediction.predicted,
            probabilities=dict(zip(release.classes, prediction.probabilities.tolist(), strict=True)),
            version=prediction.version,
            correction=prediction.correction,
            kind=prediction.kind,
        )

    def answered(self, images: NDArray[np.uint8], predictions: tuple[Prediction, ...]) -> None:
        """Count what was predicted of uint8 `[n, height, width, channels]`, and ask the candidate in shadow, if any."""
        for each in predictions:
            self.metrics.predicted(each)
        if self.shadow is not None:
            self.shadow.compare(images, predictions)

    def report(self, content: bytes, token: str, expected: str, reporter: str, note: str) -> Filed:
        """File a report on a prediction of this very image. Raises UnknownPrediction, DataError, StoreError."""
        made = self.tokens.read(token)
        if made.image != hashlib.sha256(content).hexdigest():
            raise UnknownPrediction("the prediction was of another image; send the bytes that were predicted")
        classes = self.follower.release.classes
        if expected not in classes:
            raise DataError(f"{expected!r} is no class of this model; it has {', '.join(classes)[:500]}")
        filed = file_report(
            self.storage,
            content,
            expected,
            predicted=made.predicted,
            reporter=reporter,
            model_version=made.version,
            note=note,
            limits=self.settings.image,
        )
        self.metrics.reported()
        return Filed(report=filed.id)

    def became(self, report: str) -> Became:
        """What became of a report. Raises HTTPException (404), Damaged, StoreError."""
        try:
            found = report_state(self.storage, report)
        except NotStored:
            raise HTTPException(404, "no report of this identity was filed, or no night has read its batch") from None
        return Became(report=report, state=found.state, reason=found.reason, version=found.version, more=found.more)

    def health(self) -> Health:
        """What is served."""
        state = self.follower.state
        status: Literal["ok", "behind", "empty"] = "behind" if state.problem else "ok"
        return Health(
            status="empty" if state.version is None else status,
            version=state.version,
            wanted=state.wanted,
            manifest_sha256=state.digest,
        )


def content_type(request: Request) -> str | None:
    """What a client says that its body is."""
    return request.headers.get("content-type")


def create_app(
    storage: Storage,
    follower: Follower | None = None,
    settings: Settings | None = None,
    tokens: Tokens | None = None,
    shadow: Shadow | None = None,
) -> FastAPI:
    """The service over a store. It starts the follower when it starts, and stops it when it ends.

    `shadow` asks a candidate beside the release of the same `follower`; None: no candidate is ever loaded."""
    settings = settings or Settings()
    service = Service(storage, follower or Follower(storage), settings, tokens or Tokens(), shadow)
    bodies = Bodies(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(service.follower.start)
        if shadow is not None:
            await to_thread.run_sync(shadow.start)
        yield
        if shadow is not None:
            await to_thread.run_sync(shadow.stop)
        await to_thread.run_sync(service.follower.stop)

    # no docs_url: those pages load their scripts from elsewhere; /openapi.json describes the same
    app = FastAPI(title="Errata", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    problems.install(app)
    app.add_middleware(Measured, metrics=service.metrics, routes=ROUTES)
    app.state.metrics = service.metrics

    @app.post(
        "/predict",
        summary="Classify one image",
        openapi_extra=IMAGE_BODY,
        responses=problems.responses(408, 413, 422, 503),
    )
    async def predict(request: Request) -> Answer:
        return await bodies.handle(request, lambda body: service.predict(image_file(body, content_type(request))))

    @app.get("/healthz", summary="What is served", responses={503: {"model": Health}})
    async def healthz(response: Response) -> Health:
        health = service.health()
        response.status_code = 503 if health.status == "empty" else 200
        return health

    @app.get("/metrics", summary="For Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type=CONTENT_TYPE_LATEST)

    open_inference.install(app, service.follower, bodies, service.answered)
    if settings.reports:
        _report_routes(app, service, bodies)
    return app


def _report_routes(app: FastAPI, service: Service, bodies: Bodies) -> None:
    """What was wrong is said, and what became of it asked."""

    @app.post(
        "/report",
        status_code=201,
        summary="Say what a prediction should have been",
        openapi_extra=IMAGE_BODY,
        responses=problems.responses(408, 413, 422, 503),
    )
    async def report(
        request: Request,
        prediction: Annotated[str, Query(max_length=2000, description="`prediction` of the answer")],
        expected: Annotated[str, Query(min_length=1, max_length=200, description="the class it should be")],
        reporter: Annotated[str, Query(min_length=1, max_length=200, description="who says so")] = "anonymous",
        note: Annotated[str, Query(max_length=2000, description="anything to add")] = "",
    ) -> Filed:
        def job(body: bytes) -> Filed:
            content = image_file(body, content_type(request))
            return service.report(content, prediction, expected, reporter, note)

        return await bodies.handle(request, job)

    @app.get(
        "/reports/{report}",
        summary="What became of a report",
        responses=problems.responses(404, 422, 503),
    )
    async def became(
        report: Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="`report` of what /report answered")],
    ) -> Became:
        return await bodies.work(partial(service.became, report))
