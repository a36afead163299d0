"""A mock S3 server (moto) on loopback that spoils answers on demand, as networks and tired servers do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

import boto3
from botocore.client import Config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

StartResponse = Callable[..., Any]
BUCKET = "mock"


class Fault(Enum):
    """What may go wrong with one request."""

    INTERNAL_ERROR = "500 before anything is done"
    SLOW_DOWN = "503 SlowDown before anything is done"
    NO_ANSWER = "nothing is done, and nobody answers in time"
    LATE_ANSWER = "all is done, but the answer comes too late"
    LOST_ANSWER = "all is done, but the connection breaks before the answer"
    CUT_ANSWER = "the connection breaks in the middle of the answer's body"
    CONFLICT = "409: another conditional write is under way"
    DISK_FULL = "507: nothing more can be stored"
    ARCHIVED = "403: the object lies in an archive (Glacier)"
    FOREIGN_KEY = "400: the object is encrypted with a key that the client must send (SSE-C)"
    FORBIDDEN = "403: these credentials may not"


_SENT_INSTEAD = {
    Fault.INTERNAL_ERROR: ("500 Internal Server Error", "InternalError"),
    Fault.SLOW_DOWN: ("503 Slow Down", "SlowDown"),
    Fault.CONFLICT: ("409 Conflict", "ConditionalRequestConflict"),
    Fault.DISK_FULL: ("507 Insufficient Storage", "InsufficientStorage"),
    Fault.ARCHIVED: ("403 Forbidden", "InvalidObjectState"),
    Fault.FOREIGN_KEY: ("400 Bad Request", "InvalidRequest"),
    Fault.FORBIDDEN: ("403 Forbidden", "AccessDenied"),
}


class _Silent(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: Prefect would show each line."""


class FaultyS3:
    """The server; `spoil` says which requests come next to harm. `requests` counts all of them by method."""

    TOO_LATE_SECONDS = 0.6

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._faults: list[tuple[str, str, Fault]] = []
        self._ignored: set[str] = set()
        self._lock = threading.Lock()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Silent)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()

    def client(self, read_timeout: float = 60.0) -> Any:
        """A client of this server."""
        return boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="mock",
            aws_secret_access_key="mock",
            config=Config(read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": 5}),
        )

    def spoil(self, fault: Fault, method: str, times: int = 1, where: str = "") -> None:
        """Let the next `times` requests of this method, whose path ends so, meet `fault`."""
        self._faults += [(method, where, fault)] * times

    def ignore(self, *headers: str) -> None:
        """Act as if these request headers (`If-Match`) were not there, as some servers do."""
        self._ignored = {f"HTTP_{header.upper().replace('-', '_')}" for header in headers}

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()
        self._ignored.clear()
        self.requests.clear()

    def _next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append(method)
            for index, (wanted, where, fault) in enumerate(self._faults):
                if wanted == method and path.endswith(where):
                    del self._faults[index]
                    return fault
        return None

    def _answer(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        fault = self._next_fault(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        for header in self._ignored:
            environ.pop(header, None)
        if fault in _SENT_INSTEAD:
            status, code = _SENT_INSTEAD[fault]
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()]
        if fault is Fault.NO_ANSWER:
            time.sleep(self.TOO_LATE_SECONDS)
            return self._hang_up(environ)
        if fault is None:
            return self._moto(environ, start_response)  # type: ignore[no-any-return]
        said: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._moto(environ, lambda status, headers, *_: said.append((status, headers))))
        if fault is Fault.CUT_ANSWER:
            start_response(*said[0])
            return self._half(body, environ)
        if fault is Fault.LATE_ANSWER:
            time.sleep(self.TOO_LATE_SECONDS)
        return self._hang_up(environ)

    def _half(self, body: bytes, environ: dict[str, Any]) -> Iterable[bytes]:
        yield body[: len(body) // 2]
        yield from self._hang_up(environ)

    @staticmethod
    def _hang_up(environ: dict[str, Any]) -> Iterable[bytes]:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError  # werkzeug takes it for a client that has gone
