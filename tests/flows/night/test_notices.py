"""What people are told of a night: by a real HTTP server that checks what it is told, and by none that ends a night."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from errata.data.belief.waiting import Waiting
from errata.data.images import encode_png
from errata.data.inbox.quarantine import quarantine, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import file_report
from errata.data.storage.local import LocalStorage
from errata.editing.errors import DataError, NightError
from errata.flows.gate.criterion import GateResult, Name, not_computed
from errata.flows.night.notices import Notices, begin_night, events_of, open_notices
from errata.flows.night.state import Night
from errata.flows.night.summary import NightSummary
from errata.flows.night.webhook import SECRET, Webhook, webhook_of
from errata.flows.workspace import Workspace
from tests.flows.conftest import make_workspace
from tests.flows.gate.gate_rows import PARAMS

KEY = b"a key of thirty-two bytes or so."
NOTHING = NightSummary("nothing to correct", 1, 0, 0, 0)


@dataclass
class Receiver:
    """An HTTP server that answers with each of `answers` in turn, the last one for ever, and keeps what it was sent."""

    answers: list[int] = field(default_factory=lambda: [204])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{receiver.url}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def night(tmp_path: Path, lines: list[str]) -> Night:
    make_workspace(tmp_path / "workspace")
    return Night(LocalStorage(tmp_path / "store"), Workspace(tmp_path / "workspace"), "Ada", lines.append)


def hook(receiver: Receiver, pauses: list[float] | None = None) -> Webhook:
    """The receiver's webhook, which waits for nothing."""
    return Webhook(f"{receiver.url}/secret/path", KEY, pause=(pauses if pauses is not None else []).append)


def test_what_is_sent_is_signed_as_the_standard_says(receiver: Receiver, lines: list[str]) -> None:
    """standardwebhooks.com: HMAC-SHA256 of identity, time and body, each parted by a full stop, in base64."""
    environment = {"ERRATA_WEBHOOK": receiver.url, SECRET: f"whsec_{base64.b64encode(KEY).decode()}"}
    webhook = webhook_of("ERRATA_WEBHOOK", environment)
    assert webhook is not None
    assert webhook.send("run-failed", "night.failed", "it failed", {"version": 7}, lines.append)
    ((headers, body),) = receiver.got
    signed = f"run-failed.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert (headers["webhook-id"], headers["webhook-signature"]) == ("run-failed", f"v1,{expected}")
    content = json.loads(body)
    assert (content["type"], content["text"], content["data"]) == ("night.failed", "it failed", {"version": 7})
    assert lines == []


def test_a_library_of_others_takes_the_signature(receiver: Receiver, lines: list[str]) -> None:
    standardwebhooks = pytest.importorskip("standardwebhooks", reason="pip install standardwebhooks")
    hook(receiver).send("run-failed", "night.failed", "it failed", {}, lines.append)
    ((headers, body),) = receiver.got
    checker = standardwebhooks.Webhook(base64.b64encode(KEY).decode())
    assert checker.verify(body, headers)["type"] == "night.failed"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        checker.verify(body.replace(b"failed", b"passed"), headers)


def test_it_is_tried_again_where_waiting_helps(receiver: Receiver, lines: list[str]) -> None:
    pauses: list[float] = []
    receiver.answers = [503, 429, 204]
    assert hook(receiver, pauses).send("a", "night.failed", "text", {}, lines.append)
    assert (len(receiver.got), pauses, lines) == (3, [2.0, 10.0], [])
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1, "the receiver cannot tell a retry"


@pytest.mark.parametrize(("status", "times"), [(500, 3), (400, 1), (410, 1), (302, 1)])
def test_who_does_not_take_it_is_told_of_and_no_more(
    receiver: Receiver, lines: list[str], status: int, times: int
) -> None:
    """Nor is a redirect followed: whoever controls the receiver does not choose where the night connects to."""
    receiver.answers = [status]
    assert not hook(receiver).send("a", "night.failed", "text", {}, lines.append)
    assert len(receiver.got) == times
    assert lines == [f"the webhook at 127.0.0.1 was not told of night.failed: it answered {status}"]


@pytest.mark.parametrize("fault", [httpx.ConnectError("no"), ValueError("secret/path"), RuntimeError("x")])
def test_no_fault_of_sending_is_felt(lines: list[str], fault: Exception) -> None:
    def post(*_: object, **__: object) -> httpx.Response:
        raise fault

    webhook = Webhook("https://chat.example.org/secret/path", b"", post, lambda _seconds: None)
    assert not webhook.send("a", "night.failed", "text", {}, lines.append)
    assert len(lines) == 1
    assert "secret" not in lines[0], "a chat's address is a secret"
    assert "secret" not in repr(webhook)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "host/path", "http://", "http://[::1"])
def test_what_is_no_address_is_refused_before_the_night(url: str) -> None:
    with pytest.raises(DataError, match="ERRATA_WEBHOOK is no address"):
        webhook_of("ERRATA_WEBHOOK", {"ERRATA_WEBHOOK": url})


def test_what_is_no_secret_is_refused_before_the_night(night: Night) -> None:
    with pytest.raises(DataError, match=SECRET):
        open_notices(night, {"ERRATA_WEBHOOK": "https://host", SECRET: "whsec_ä"})
    assert open_notices(night, {SECRET: "whsec_"}) == Notices(night, None, None)


def result(*names: Name) -> GateResult:
    return GateResult("edit", tuple(not_computed(name, PARAMS) for name in names))


def test_each_thing_a_person_should_know_is_an_event() -> None:
    side = Waiting("c" * 64, "7", 0.25, ("r" * 64,), "2 reporters", 1)
    unsure = NightSummary(
        "not released", 1, 3, 1, 2, sentence="the candidate is inconclusive on shadow", gate_result=result(Name.SHADOW)
    )
    summary = replace(unsure, budget="240 of 256", waiting=(side,))
    assert [event for event, _ in events_of(summary)] == ["inconclusive", "budget", "waiting"]
    left_out = NightSummary("not released", 1, 3, 1, 2, sentence="the candidate fails drawdown")
    assert [event for event, _ in events_of(left_out)] == ["refused"]
    assert events_of(NOTHING) == []
    assert events_of(NightSummary("released", 2, 1, 1, 1)) == []


def test_of_a_failed_night_people_are_told_and_it_fails_as_it_did(receiver: Receiver, night: Night) -> None:
    def fails() -> NightSummary:
        raise NightError("the disk is full")

    with pytest.raises(NightError, match="the disk is full"):
        Notices(night, hook(receiver), None).around(fails)
    (told,) = receiver.told
    assert (told["type"], told["text"]) == ("night.failed", "Errata: failed: the disk is full")
    assert told["data"] == {"store": night.storage.url, "run": night.name, "by": "Ada", "error": "NightError"}


def test_a_night_that_cannot_begin_is_told_too(receiver: Receiver, night: Night, lines: list[str]) -> None:
    (night.workspace.folder / "params.yaml").write_text("gate: {drawdwon: 0.1}\n")
    where, environment = (night.storage.url, str(night.workspace.folder)), {"ERRATA_WEBHOOK": receiver.url}
    with pytest.raises(DataError, match="did you mean drawdown"):
        begin_night(*where, "Ada", lines.append, environment=environment)
    (told,) = receiver.told
    assert told["type"] == "night.failed"
    assert "gate.drawdwon: no parameter is called so; did you mean drawdown?" in told["text"]
    assert {name: told["data"][name] for name in ("store", "by", "error")} == {
        "store": night.storage.url,
        "by": "Ada",
        "error": "DataError",
    }
    with pytest.raises(DataError, match="did you mean drawdown"):
        begin_night(*where, "Ada", lines.append, environment={})
    assert len(receiver.told) == 1


def test_only_what_params_yaml_names_is_told(receiver: Receiver, night: Night) -> None:
    summary = NightSummary("not released", 1, 3, 1, 2, sentence="the candidate fails drawdown", budget="240 of 256")
    path = night.workspace.folder / "params.yaml"
    path.write_text(path.read_text() + "\nnotify:\n  events: [budget]\n")
    Notices(night, hook(receiver), None).around(lambda: summary)
    assert [each["type"] for each in receiver.told] == ["night.budget"]


def test_a_receiver_that_is_down_changes_no_night(receiver: Receiver, night: Night, lines: list[str]) -> None:
    receiver.answers = [500]
    summary = NightSummary("not released", 1, 3, 1, 2, sentence="the candidate fails drawdown")
    assert Notices(night, hook(receiver), hook(receiver)).around(lambda: summary) is summary
    assert len(lines) == 1


def test_what_became_of_reports_is_told_and_nobodys_name(receiver: Receiver, night: Night) -> None:
    image = encode_png(np.zeros((8, 8, 1), np.uint8))
    taken, refused, waits = (
        file_report(night.storage, image, expected, reporter="Ada Lovelace", note="http://10.0.0.1/callback")
        for expected in ("1", "2", "3")
    )
    settle(night.storage, [taken.id], 2)
    refusal = Refusal(refused.id, Reason.CONFLICT, "Grace Hopper says otherwise")
    quarantine(night.storage, refusal, datetime.now(UTC))
    summary = NightSummary("released", 2, 3, 1, 1, refused=(refusal,), settled=(taken.id,))
    Notices(night, None, hook(receiver)).around(lambda: summary)
    (told,) = receiver.told
    assert told["type"] == "reports.decided"
    assert told["data"]["reports"] == [
        {"report": taken.id, "state": "not held", "reason": None, "version": 2},
        {"report": refused.id, "state": "refused", "reason": "conflict", "version": None},
    ]
    text = receiver.got[0][1].decode()
    assert not {name for name in ("Ada", "Grace", "10.0.0.1", waits.id) if name in text}
