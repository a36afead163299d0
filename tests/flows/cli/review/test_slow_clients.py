"""Who sends slowly does not keep the review page from others: a real server, real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from errata.data.connections import ConnectionLimits, server
from errata.flows.cli.review.service import create_app
from tests.flows.cli.review.conftest import Desk

SOON = 0.3  # seconds


@pytest.fixture
def port(desk: Desk) -> Iterator[int]:
    """Where a review page listens that waits `SOON` for a header, and for a form."""
    limits = ConnectionLimits(connections=8, header_seconds=SOON, body_seconds=SOON)
    app = create_app(desk.storage, desk.trust, 8, desk.sign_in, limits=limits)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        service = server(app, app.state.limits, host="127.0.0.1", port=0)
        thread = threading.Thread(target=service.run, kwargs={"sockets": [listening]})
        thread.start()
        while not service.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        service.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: rev", b""),
        (b"POST /sign-in HTTP/1.1\r\nHost: review\r\nContent-Length: 1000\r\n\r\ntoken=", b"HTTP/1.1 408"),
    ],
    ids=["silence", "half a header", "half a form"],
)
def test_whoever_does_not_go_on_is_closed_and_everybody_else_is_answered(port: int, sent: bytes, answer: bytes) -> None:
    slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(6)]
    for each in slow:
        each.sendall(sent)
    assert httpx.get(f"http://127.0.0.1:{port}/sign-in").status_code == 200
    for each in slow:
        with closing(each):
            said = b""
            while part := each.recv(4096):  # until the page closes it; a timeout fails the test
                said += part
            assert said.startswith(answer)
