"""The nights that wait for a person under Prefect, on the review page: what each asks, and the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal
from uuid import UUID

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as record
from starlette.exceptions import HTTPException

from errata.data.records import STRICT, wrong_fields
from errata.flows.cli.review.site import Site, Someone, answer
from errata.flows.prefect_runs.approval import WaitingRun, answer_run, waiting_runs


@dataclass(frozen=True)
class Nights:
    """How to ask Prefect's server, and how to answer a run."""

    waiting: Callable[[], list[WaitingRun]] = waiting_runs
    answer: Callable[..., WaitingRun] = answer_run


@record(frozen=True, config=STRICT)
class _Answered:
    action: Literal["release", "refuse"]
    why: Annotated[str, StringConstraints(max_length=2000)] = ""


_ANSWERED = TypeAdapter(_Answered)
ANSWERS = {
    "": "",
    "release": "It goes on and releases what it made.",
    "refuse": "It goes on, and the old model stays live.",
}


def night_routes(app: FastAPI, site: Site, nights: Nights) -> None:
    """Add the page of nights, and its form."""

    @app.get("/nights")
    def waiting(reviewer: Someone, answered: Literal["", "release", "refuse"] = "") -> Response:
        return site.page("nights.html.j2", reviewer, runs=nights.waiting(), answered=ANSWERS[answered])

    @app.post("/nights/{run}")
    async def answered(run: UUID, request: Request, reviewer: Someone) -> Response:
        found = await site.form(request, reviewer)
        try:
            said = _ANSWERED.validate_json(json.dumps(found))
        except ValidationError as error:
            raise HTTPException(422, wrong_fields(error, "the form")) from None
        site.needs_trust(reviewer)
        release = said.action == "release"
        await to_thread.run_sync(
            partial(nights.answer, str(run), release=release, who=reviewer.name, why=said.why.strip())
        )
        return answer(request, ANSWERS[said.action], f"/nights?answered={said.action}")
