"""A real uvicorn and real sockets: who is slow, idle or many locks nobody else out, and is counted for what he is."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass

import pytest

from errata.data.connections import server
from errata.data.images import encode_png
from errata.data.storage.local import LocalStorage
from errata.serving.follower import Follower
from errata.serving.service import create_app
from errata.serving.settings import Settings
from tests.serving.releases import IMAGES, release

PNG = encode_png(IMAGES[3])
ATTACKER, HONEST = "127.0.0.2", "127.0.0.3"
HALF_HEADER = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Le"
SLOW_BODY = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 1000\r\n\r\nx"
NEVER = 3600.0


@dataclass(frozen=True)
class Running:
    """A service that answers on `port`."""

    port: int

    def connect(self, address: str, sent: bytes) -> socket.socket:
        """A connection of the client `address` on which `sent` was sent."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(address, 0))
        opened.sendall(sent)
        return opened

    def ask(self, method: str, path: str, body: bytes | None = None, address: str = HONEST) -> tuple[int, str]:
        """The status and text of an answer to one request on a connection of its own."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(address, 0))) as to:
            to.request(method, path, body)
            answer = to.getresponse()
            return answer.status, answer.read().decode()

    def counted(self, sample: str) -> float:
        """A sample of the metrics; 0 if it is not there yet."""
        lines = self.ask("GET", "/metrics")[1].splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(sample)), 0.0)


@contextmanager
def running(storage: LocalStorage, settings: Settings) -> Iterator[Running]:
    """uvicorn on a thread, until the block ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        app = create_app(storage, Follower(storage, every=NEVER), settings)
        service = server(app, settings, host="127.0.0.1", port=0, closed=app.state.metrics.closed)
        thread = threading.Thread(target=service.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_for(lambda: service.started)
            yield Running(listening.getsockname()[1])
        finally:
            service.should_exit = True
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def is_open(connection: socket.socket) -> bool:
    """Whether the service has neither answered nor closed it."""
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False


@pytest.fixture
def released(storage: LocalStorage) -> LocalStorage:
    release(storage, 1)
    return storage


@pytest.mark.parametrize("sent", [HALF_HEADER, SLOW_BODY, b""], ids=["half headers", "slow bodies", "silence"])
def test_one_client_cannot_take_all_connections(released: LocalStorage, sent: bytes) -> None:
    settings = Settings(connections=40, per_client=20, header_seconds=NEVER, body_seconds=NEVER, in_progress=30)
    with running(released, settings) as service, ExitStack() as opened:
        slow = [opened.enter_context(service.connect(ATTACKER, sent)) for _ in range(20)]
        more = [opened.enter_context(service.connect(ATTACKER, b"")) for _ in range(5)]
        for each in more:
            assert each.recv(100).startswith(b"HTTP/1.1 429 ")
        assert service.ask("POST", "/predict", PNG)[0] == 200
        assert all(map(is_open, slow)), "the honest client was answered while all of them were open"
        assert service.counted('errata_connections_closed_total{why="client\'s limit"}') == 5


@pytest.mark.parametrize("sent", [HALF_HEADER, SLOW_BODY, b""], ids=["half headers", "slow bodies", "silence"])
def test_where_all_connections_are_in_use_the_longest_at_a_standstill_gives_way(
    released: LocalStorage, sent: bytes
) -> None:
    """As from many addresses: without a limit for one."""
    settings = Settings(connections=20, per_client=0, header_seconds=NEVER, body_seconds=NEVER, in_progress=100)
    with running(released, settings) as service, ExitStack() as opened:
        slow = [opened.enter_context(service.connect(ATTACKER, sent)) for _ in range(60)]
        assert service.ask("POST", "/predict", PNG)[0] == 200
        wait_for(lambda: not any(map(is_open, slow[:40])))
        assert sum(map(is_open, slow)) >= 15


def test_a_header_has_a_deadline_however_it_drips_also_on_a_kept_connection(released: LocalStorage) -> None:
    with running(released, Settings(header_seconds=0.3)) as service:
        for before in (b"", b"GET /healthz HTTP/1.1\r\nHost: service\r\n\r\n"):
            with service.connect(ATTACKER, before) as dripping:
                if before:
                    answer = b""
                    while not answer.endswith(b"}"):
                        answer += dripping.recv(10_000)
                closed = False
                for letter in HALF_HEADER * 100:
                    try:
                        dripping.send(bytes([letter]))
                        time.sleep(0.02)
                        closed = not is_open(dripping)
                    except ConnectionError:
                        closed = True
                    if closed:
                        break
                assert closed
        assert service.counted('errata_connections_closed_total{why="no header"}') == 2


def test_a_body_that_nobody_asked_for_has_that_deadline_too(released: LocalStorage) -> None:
    """The answer to `GET` is sent; what follows is read and thrown away, but not for ever."""
    with running(released, Settings(header_seconds=0.3)) as service:
        endless = b"GET /healthz HTTP/1.1\r\nHost: service\r\nTransfer-Encoding: chunked\r\n\r\n"
        with service.connect(ATTACKER, endless) as talking:
            assert talking.recv(10_000).startswith(b"HTTP/1.1 200 ")
            until = time.monotonic() + 30
            with pytest.raises(ConnectionError):
                while time.monotonic() < until:
                    talking.sendall(b"1\r\nx\r\n" * 10)
                    time.sleep(0.01)
        assert service.counted('errata_connections_closed_total{why="no header"}') == 1


def test_who_never_reads_an_answer_locks_nobody_out(released: LocalStorage) -> None:
    """Thousands of requests at once on each connection, from many addresses, and not a byte of an answer is taken."""
    asks = b"GET /openapi.json HTTP/1.1\r\nHost: service\r\n\r\n" * 1000
    settings = Settings(connections=4, per_client=0, header_seconds=NEVER, in_progress=2, workers=1)
    with running(released, settings) as service, ExitStack() as opened:
        for _ in range(6):
            deaf = opened.enter_context(service.connect(ATTACKER, b""))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            with suppress(BlockingIOError):
                deaf.send(asks)
        for _ in range(3):
            assert service.ask("POST", "/predict", PNG)[0] == 200


def test_many_requests_on_one_kept_connection_are_answered(released: LocalStorage) -> None:
    settings = Settings(connections=2, per_client=2)
    with running(released, settings) as service:
        with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as kept:
            for _ in range(20):
                kept.request("POST", "/predict", PNG)
                answer = kept.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
        for _ in range(20):
            assert service.ask("POST", "/predict", PNG)[0] == 200


def test_a_client_that_goes_away_is_no_fault_of_ours(released: LocalStorage) -> None:
    gone = 'errata_request_seconds_count{route="/predict",status="disconnected"}'
    with running(released, Settings()) as service:
        for _ in range(3):
            service.connect(ATTACKER, SLOW_BODY).close()
        wait_for(lambda: service.counted(gone) == 3)
        assert 'status="5' not in service.ask("GET", "/metrics")[1]
