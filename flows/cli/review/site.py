"""What all routes of the review page share: pages from templates, forms that are read safely, answers to failures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from errata.data.belief.trust import TrustSettings
from errata.data.connections import ConnectionLimits
from errata.editing.errors import DataError, ErrataError
from errata.flows.cli.review.decide import needs_trust
from errata.flows.cli.review.live import Desk
from errata.flows.cli.review.queue import is_trusted
from errata.flows.cli.review.sign_in import Reviewer, SignIn

MAX_FORM = 256 * 1024  # bytes: the names of all reports of one claim are in it
MOST_FIELDS = 20
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def _signed_in(request: Request) -> Reviewer:
    sign_in: SignIn = request.app.state.sign_in
    return sign_in.reviewer(request)


Someone = Annotated[Reviewer, Depends(_signed_in)]


class Site:
    """The store as reviewers see it; `trust` and `slots` (how many corrections fit) are those of params.yaml."""

    def __init__(self, desk: Desk, trust: TrustSettings, slots: int, sign_in: SignIn, *, nights: bool) -> None:
        """`nights`: whether there is a page of nights."""
        self.desk, self.trust, self.slots, self.sign_in, self._nights = desk, trust, slots, sign_in, nights
        self._pages = Environment(
            loader=PackageLoader("errata.flows.cli.review"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, name: str, reviewer: Reviewer, **more: Any) -> HTMLResponse:
        """A page for somebody who signed in."""
        return self.plain(
            name,
            reviewer=reviewer.name,
            trusted=is_trusted(reviewer.name, self.trust),
            proxy=self.sign_in.header,
            nights=self._nights,
            form_token=self.sign_in.form_token(reviewer),
            **more,
        )

    def plain(self, name: str, *, code: int = 200, **more: Any) -> HTMLResponse:
        """A page for anybody."""
        return HTMLResponse(self._pages.get_template(name).render(**more), code)

    def source(self, name: str) -> str:
        """A file beside the templates, as it is."""
        return files(__package__).joinpath("templates", name).read_text("utf-8")

    def message(self, request: Request, status: int, said: str) -> Response:
        """Why a request was refused: a page for people, JSON for programs."""
        if not wants_page(request):
            return JSONResponse({"detail": said}, status)
        return self.plain("message.html.j2", code=status, said=said, status=status)

    def needs_trust(self, reviewer: Reviewer) -> None:
        """Raises HTTPException (403) unless this reviewer's word alone is enough."""
        needs_trust(self.trust, reviewer.name)

    async def form(self, request: Request, reviewer: Reviewer, most: int = MOST_FIELDS) -> dict[str, str]:
        """The fields, `most` at most, of a form that this reviewer sent from a page of this site.

        Raises HTTPException.
        """
        found = await fields(request, most)
        self.sign_in.check_form(request, reviewer, found.pop("form_token", ""))
        return found


def answer(request: Request, said: str, back: str) -> Response:
    """What followed from a form: for a browser the page that it came from."""
    return RedirectResponse(back, 303) if wants_page(request) else JSONResponse({"said": said})


def wants_page(request: Request) -> bool:
    """Whether a browser asks for something to look at."""
    return "text/html" in request.headers.get("accept", "")


async def fields(request: Request, most: int = MOST_FIELDS) -> dict[str, str]:
    """The fields of a form, whoever sent it. Raises HTTPException (408, 413, 422)."""
    limits: ConnectionLimits = request.app.state.limits
    content = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                content += part
                if len(content) > MAX_FORM:
                    raise HTTPException(413, "the form is too large")
    except TimeoutError:
        raise HTTPException(408, f"the form did not arrive within {limits.body_seconds:g} seconds") from None
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=most))
    except ValueError:
        raise HTTPException(422, "this is no form") from None


def guard(app: FastAPI, site: Site) -> None:
    """Put the headers on every answer, and answer every failure with a sentence."""

    @app.middleware("http")
    async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(ErrataError)
    async def told(request: Request, fault: ErrataError) -> Response:
        return site.message(request, 422 if isinstance(fault, DataError) else 503, str(fault))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, _fault: RequestValidationError) -> Response:
        return site.message(request, 422, "that is no address of this site")

    @app.exception_handler(HTTPException)
    async def http(request: Request, fault: HTTPException) -> Response:
        opened = request.method == "GET" and wants_page(request) and site.sign_in.header is None
        if fault.status_code == 401 and opened:
            return RedirectResponse("/sign-in", 303)
        return site.message(request, fault.status_code, str(fault.detail))
