"""The review page's routes: the queue, the history of each report, what is decided, and the sign-in.

Pages work without scripts; review.js adds the keys. All that is shown of the store is escaped, and pictures are sent as
this program encodes them anew, never as they came.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

from errata.data.belief.report_states import State, report_states
from errata.data.belief.trust import TrustSettings
from errata.data.connections import ConnectionLimits
from errata.data.images import decode_image, encode_png
from errata.data.records import wrong_fields
from errata.data.reports import read_image
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored
from errata.flows.cli.review.decide import Decided, decide, withdraw
from errata.flows.cli.review.kinds import kind_routes
from errata.flows.cli.review.live import Desk, Effect
from errata.flows.cli.review.nights import Nights, night_routes
from errata.flows.cli.review.queue import read_queue
from errata.flows.cli.review.sign_in import COOKIE, SignIn, check_origin
from errata.flows.cli.review.site import Site, Someone, answer, fields, guard
from errata.flows.releases.report_history import report_history

LISTED = 500  # reports on one page
Digest = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
_DECIDED = TypeAdapter(Decided)


def create_app(
    storage: Storage,
    trust: TrustSettings,
    slots: int,
    sign_in: SignIn,
    nights: Nights | None = None,
    effect: Effect | None = None,
    limits: ConnectionLimits | None = None,
) -> FastAPI:
    """The review page over a store; `trust` and `slots` (how many corrections fit) are those of params.yaml.

    `nights`: the Prefect server whose runs may be answered here, if there is one. `effect` says what a claim would
    change in the day's requests. `limits`: of whoever is slow.
    """
    app = FastAPI(title="Errata review", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.sign_in = sign_in
    app.state.limits = limits or ConnectionLimits()
    site = Site(Desk(storage), trust, slots, sign_in, nights=nights is not None)
    guard(app, site)
    _sign_in_routes(app, site)
    _queue_routes(app, site, effect)
    _report_routes(app, site, storage)
    kind_routes(app, site)
    if nights is not None:
        night_routes(app, site, nights)

    @app.get("/review.css")
    def style() -> Response:
        return Response(site.source("review.css"), media_type="text/css")

    @app.get("/review.js")
    def script() -> Response:
        return Response(site.source("review.js"), media_type="text/javascript")

    return app


def _queue_routes(app: FastAPI, site: Site, effect: Effect | None) -> None:
    @app.get("/")
    def queue(reviewer: Someone, start: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
        found = read_queue(site.desk, site.trust, site.slots, reviewer.name, start)
        return site.page("queue.html.j2", reviewer, queue=found, model=site.desk.model())

    @app.get("/effect/{image}")  # asked for one card at a time: it takes a network
    def changes(image: Digest, expected: Annotated[str, Query(max_length=200)], _reviewer: Someone) -> Response:
        said = effect(site.desk.model().look(image), expected) if effect else ""
        return JSONResponse({"said": said})

    @app.post("/decide")
    async def decided(request: Request, reviewer: Someone) -> Response:
        found = await site.form(request, reviewer)
        back = f"/?start={found.pop('start', '0')}"
        try:
            said = _DECIDED.validate_json(json.dumps(found))
        except ValidationError as error:
            raise HTTPException(422, wrong_fields(error, "the form")) from None
        work = partial(decide, site.desk, site.trust, reviewer.name, said)
        return answer(request, await to_thread.run_sync(work), back)


def _report_routes(app: FastAPI, site: Site, storage: Storage) -> None:
    @app.get("/reports")
    def all_reports(reviewer: Someone, state: State | None = None) -> Response:
        found = [each for each in report_states(storage) if state in (None, each.state)]
        found.sort(key=lambda each: (each.report.filed_at.timestamp() if each.report else 0.0, each.id), reverse=True)
        shown = found[:LISTED]
        return site.page("reports.html.j2", reviewer, reports=shown, count=len(found), state=state, states=list(State))

    @app.get("/reports/{report}")
    def history(report: Digest, reviewer: Someone) -> Response:
        try:
            found = report_history(storage, report)
        except NotStored:
            raise HTTPException(404, "there is no such report") from None
        consumed = found.now.state in {State.IN_RELEASE, State.NOT_HELD}
        held = site.desk.model().correction_of(report) if consumed else None
        withdrawn = bool(found.decided and found.decided.action == "retracted")
        return site.page("history.html.j2", reviewer, history=found, held=held, withdrawn=withdrawn)

    @app.post("/reports/{report}/withdraw")
    async def withdrawn(report: Digest, request: Request, reviewer: Someone) -> Response:
        why = (await site.form(request, reviewer)).get("why", "")
        work = partial(withdraw, site.desk, site.trust, reviewer.name, report, why)
        return answer(request, await to_thread.run_sync(work), f"/reports/{report}")

    @app.get("/images/{image}")
    def picture(image: Digest, reviewer: Someone) -> Response:
        try:
            content = read_image(storage, image)
        except NotStored:
            raise HTTPException(404, "there is no such image") from None
        return Response(encode_png(decode_image(content)), media_type="image/png")


def _sign_in_routes(app: FastAPI, site: Site) -> None:
    @app.get("/sign-in")
    def ask() -> Response:
        return site.plain("sign_in.html.j2", proxy=site.sign_in.header)

    @app.post("/sign-in")
    async def enter(request: Request) -> Response:
        if site.sign_in.header is not None:
            raise HTTPException(404, "the sign-in is a proxy's")
        check_origin(request)
        token = (await fields(request)).get("token", "").strip()
        site.sign_in.read(token)
        response = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/")
        return response

    @app.post("/sign-out")
    async def leave(request: Request, reviewer: Someone) -> Response:
        await site.form(request, reviewer)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return response
