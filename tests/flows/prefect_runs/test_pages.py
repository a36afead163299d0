"""The served pages: reports and Data Docs, to this machine alone, and nothing beside them."""

import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from errata.editing.errors import NightError
from errata.flows.prefect_runs.pages import pages_server


def report(version: int) -> bytes:
    if version > 2:
        raise NightError("it never was live")
    return b"<html>release %d" % version


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    docs = tmp_path / "data_docs"
    (docs / "nights").mkdir(parents=True)
    (docs / "nights" / "one.html").write_text("<html>one night")
    (tmp_path / "secret.html").write_text("secret")
    (docs / "link.html").symlink_to(tmp_path / "secret.html")
    with pages_server(0, report, docs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_reports_and_data_docs_are_there(port: int) -> None:
    assert ask(port, "/releases/2") == (200, b"<html>release 2")
    assert ask(port, "/data_docs/nights/one.html", "localhost") == (200, b"<html>one night")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/releases/3",
        "/releases/x",
        "/data_docs/",
        "/data_docs/../secret.html",
        "/data_docs/link.html",
        "/secret.html",
    ],
)
def test_nothing_else_is(port: int, path: str) -> None:
    status, said = ask(port, path)
    assert (status, b"secret" in said) == (404, False)


def test_a_page_of_somebody_elses_that_leads_here_is_shown_nothing(port: int) -> None:
    assert ask(port, "/releases/2", "evil.example")[0] == 404
