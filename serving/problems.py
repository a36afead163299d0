"""What a client is told when a request fails: `{"error": <code>, "detail": <a sentence>}`, never a trace or a path.

Under /v2 it is `{"error": <a sentence>, "code": <code>}`, for the Open Inference Protocol has a message there, which
its clients show to people.
"""

from __future__ import annotations

import logging
from enum import StrEnum

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from errata.editing.errors import DataError, ErrataError, NothingServed, StoreError, TooLarge, UnknownPrediction

log = logging.getLogger(__name__)


class Code(StrEnum):
    """Every `error` that a client can meet; programs decide by it, people read `detail`."""

    UNUSABLE = "unusable"  # 422: no image of an allowed format, or a class that the model does not have
    INVALID = "invalid"  # 422: a parameter is missing or out of range
    UNKNOWN_PREDICTION = "unknown prediction"  # 422: not one that this service made of this image
    TOO_LARGE = "too large"  # 413: more bytes or pixels than allowed
    TOO_SLOW = "too slow"  # 408: the body did not arrive in time
    BUSY = "busy"  # 503, 429: as many requests in progress, or connections of this client, as allowed; try again
    NOTHING_SERVED = "nothing served"  # 503: no release could be loaded yet; try again
    STORE = "store"  # 503: the store cannot be written to; try again
    NOT_FOUND = "not found"  # 404
    NOT_ALLOWED = "method not allowed"  # 405
    FAULT = "fault"  # 500: ours; the log has it


class Problem(BaseModel):
    """The body of every answer that is not 2xx."""

    model_config = ConfigDict(frozen=True)

    error: Code = Field(description="what went wrong, for programs")
    detail: str = Field(description="what went wrong and what to do, for people")


class ProtocolProblem(BaseModel):
    """The same under /v2."""

    model_config = ConfigDict(frozen=True)

    error: str = Field(description="what went wrong and what to do, for people")
    code: Code = Field(description="what went wrong, for programs")


# The first that fits; a text is given where the error's own might name a path or a bucket.
_TOLD: tuple[tuple[type[ErrataError], int, Code, str], ...] = (
    (TooLarge, 413, Code.TOO_LARGE, ""),
    (UnknownPrediction, 422, Code.UNKNOWN_PREDICTION, ""),
    (DataError, 422, Code.UNUSABLE, ""),
    (NothingServed, 503, Code.NOTHING_SERVED, "no release is served yet; try again in a few seconds"),
    (StoreError, 503, Code.STORE, "the store cannot be reached; try again"),
    (ErrataError, 500, Code.FAULT, "the request failed; whoever runs this service finds the reason in its log"),
)
_BY_STATUS = {404: Code.NOT_FOUND, 405: Code.NOT_ALLOWED, 408: Code.TOO_SLOW, 413: Code.TOO_LARGE, 503: Code.BUSY}


def answer(request: Request, status: int, code: Code, detail: str) -> JSONResponse:
    """A failed request's answer."""
    headers = {"Retry-After": "5"} if status == 503 else None
    protocol = request.url.path.startswith("/v2/")
    problem = ProtocolProblem(error=detail, code=code) if protocol else Problem(error=code, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers)


def responses(*statuses: int, model: type[BaseModel] = Problem) -> dict[int | str, dict[str, object]]:
    """For a route's documentation."""
    return {status: {"model": model} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every failure in the one form."""

    @app.exception_handler(ErrataError)
    async def told(request: Request, fault: ErrataError) -> JSONResponse:
        status, code, text = next((status, code, text) for kind, status, code, text in _TOLD if isinstance(fault, kind))
        if text:
            log.error("%s %s: %s", request.method, request.url.path, fault)
        return answer(request, status, code, text or str(fault))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        wrong = "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in fault.errors())
        return answer(request, 422, Code.INVALID, wrong[:500])

    @app.exception_handler(HTTPException)
    async def http(request: Request, fault: HTTPException) -> JSONResponse:
        return answer(request, fault.status_code, _BY_STATUS.get(fault.status_code, Code.INVALID), str(fault.detail))

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _fault: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody is there to read it

    @app.exception_handler(Exception)
    async def unexpected(request: Request, _fault: Exception) -> JSONResponse:
        log.exception("%s %s failed", request.method, request.url.path)
        return answer(request, 500, Code.FAULT, _TOLD[-1][3])
