"""What all routes of the review page share: pages from templates, forms that are read safely, answers to failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from errata.data.belief.trust import TrustSettings
from errata.editing.errors import DataError, ErrataError
from errata.flows.cli.review.live import Desk
from errata.flows.cli.review.queue import is_trusted
from errata.flows.cli.review.sign_in import Reviewer, SignIn

MAX_FORM = 256 * 1024  # bytes: the names of all reports of one claim are in it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Site:
    """The store as reviewers see it; `trust` and `slots` (how many corrections fit) are those of params.yaml."""

    def __init__(self, desk: Desk, trust: TrustSettings, slots: int, sign_in: SignIn) -> None:
        self.desk, self.trust, self.slots, self.sign_in = desk, trust, slots, sign_in
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

    async def form(self, request: Request, reviewer: Reviewer) -> dict[str, str]:
        """The fields of a form that this reviewer sent from a page of this site. Raises HTTPException."""
        found = await fields(request)
        self.sign_in.check_form(request, reviewer, found.pop("form_token", ""))
        return found


def wants_page(request: Request) -> bool:
    """Whether a browser asks for something to look at."""
    return "text/html" in request.headers.get("accept", "")


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form, whoever sent it. Raises HTTPException (413, 422)."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_FORM:
            raise HTTPException(413, "the form is too large")
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, max_num_fields=20))
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
