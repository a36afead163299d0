"""`errata review` as the documentation has it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from errata.flows.cli.app import app
from errata.flows.cli.review.sign_in import SignIn
from errata.flows.cli.reviewing import SECRET
from tests.flows.cli.review.conftest import CLASSES, Desk, predicted


def test_a_token_for_a_colleague(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["review", "--as", "Grace Hopper", "--token"]
    assert SECRET in str(CliRunner().invoke(app, words).exception)
    monkeypatch.setenv(SECRET, "a secret")
    token = CliRunner().invoke(app, words, env={"COLUMNS": "20"}).stdout.strip()
    assert SignIn(b"a secret").read(token) == "Grace Hopper"
    assert "no name that a report may have" in str(CliRunner().invoke(app, [*words[:2], "a\nb", "--token"]).exception)


@pytest.mark.slow
def test_the_command_serves_and_its_link_signs_in(desk: Desk, tmp_path: Path) -> None:
    desk.claim(9, next(name for name in CLASSES if name != predicted(9)))
    (tmp_path / "params.yaml").write_text("trust: {trusted: [ann lee]}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["review", "--as", "ann lee", "--port", str(port), "--store", desk.storage.url]
    command = [sys.executable, "-m", "errata.flows.cli.app", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        link = next(line.strip() for line in process.stdout if "/sign-in#" in line)
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=20), follow_redirects=True) as client:
                entered = client.post(link.partition("#")[0], data={"token": link.partition("#")[2]})
            assert (entered.status_code, "1 in the inbox" in entered.text) == (200, True)
            assert "(not trusted)" not in entered.text
        finally:
            process.terminate()
