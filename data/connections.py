"""Limits of connections, which an ASGI application never sees: it is called when a request's header is whole.

uvicorn waits for a header for ever, and an idle connection costs a file descriptor. Here each client has a limit, a
header has a deadline, and where all connections are in use the one that has not moved on for the longest is closed.
The reference service and the review page are served so.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

_BACKLOG = 128  # accepted in one go, before any limit is looked at
_TOO_MANY = '{"error":"busy","detail":"this address has too many connections; close some"}'
_REFUSAL = (
    "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    f"Content-Length: {len(_TOO_MANY)}\r\n\r\n{_TOO_MANY}"
).encode()


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """Where one is full, who has been waited for the longest gives way.

    `connections` may be open at once, `per_client` of one address (0: any number, as behind a gateway, whose address
    they all have). `header_seconds` to the end of a request's header, `body_seconds` for its body.
    """

    connections: int = 512
    per_client: int = 64
    header_seconds: float = 10.0
    body_seconds: float = 30.0


class Connections:
    """Those that are open: the one that has not moved on for the longest comes first."""

    def __init__(self, limits: ConnectionLimits, closed: Callable[[str], None]) -> None:
        self.limits = limits
        self.closed = closed
        self.open: dict[LimitedProtocol, None] = {}
        self.clients: Counter[str] = Counter()


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 under limits. It moves on when a request's header is whole, and when that is answered."""

    shared: Connections
    _address = ""
    _in_request = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        shared = self.shared
        self._address = self.client[0] if self.client else ""
        shared.clients[self._address] += 1
        if 0 < shared.limits.per_client < shared.clients[self._address]:
            shared.closed("client's limit")
            transport.write(_REFUSAL)
            transport.close()
            return
        if len(shared.open) >= shared.limits.connections:
            shared.closed("all in use")
            next(iter(shared.open)).end()
        self._move_on(in_request=False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()
        self.shared.clients[self._address] -= 1
        if not self.shared.clients[self._address]:
            del self.shared.clients[self._address]

    def end(self) -> None:
        """Close it at once; what was not sent yet is lost."""
        self._forget()
        self.transport.abort()

    def _look(self) -> None:
        in_request = self.cycle is not None and not self.cycle.response_complete
        if in_request != self._in_request and not self.transport.is_closing():
            self._move_on(in_request)

    def _move_on(self, in_request: bool) -> None:
        self._forget()
        self._in_request = in_request
        self.shared.open[self] = None
        if not in_request:
            self._deadline = self.loop.call_later(self.shared.limits.header_seconds, self._too_slow)

    def _too_slow(self) -> None:
        self.shared.closed("no header")
        self.end()

    def _forget(self) -> None:
        self.shared.open.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def server(
    app: FastAPI, limits: ConnectionLimits, *, host: str, port: int, closed: Callable[[str], None] = lambda _why: None
) -> uvicorn.Server:
    """uvicorn with `app`, under `limits`; `closed` hears why, of each connection that they close.

    Who connects is who connects: no header says otherwise.
    """

    class Protocol(LimitedProtocol):
        shared = Connections(limits, closed)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=Protocol,
        ws="none",
        backlog=_BACKLOG,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )
    return uvicorn.Server(config)
