"""The service as a client meets it: answers, refusals, reports, health and metrics."""

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from errata.data import layout
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting
from errata.data.images import ImageLimits, encode_png
from errata.data.inbox.quarantine import quarantine
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import parse_report
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.classifier import OnnxClassifier
from errata.serving.follower import Follower
from errata.serving.problems import Code
from errata.serving.service import create_app
from errata.serving.settings import Settings
from tests.serving.releases import IMAGES, Correction, point_at, release

HELD = Correction(3, 1, 2)
PNG = encode_png(IMAGES[HELD.image])
OTHER = encode_png(IMAGES[9])


@pytest.fixture
def follower(storage: LocalStorage) -> Follower:
    return Follower(storage, every=3600)


@pytest.fixture
def client(storage: LocalStorage, follower: Follower) -> Iterator[TestClient]:
    release(storage, 1, (HELD,))
    settings = Settings(image=ImageLimits(max_bytes=5000, max_pixels=100 * 100), workers=2)
    with TestClient(create_app(storage, follower, settings), raise_server_exceptions=False) as client:
        yield client


def problem(response: Any, status: int) -> Code:
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "detail"}
    assert body["detail"]
    return Code(body["error"])


def test_a_prediction_is_the_files_own(client: TestClient, storage: LocalStorage) -> None:
    answer = client.post("/predict", content=PNG).json()
    file = OnnxClassifier(storage.get(layout.release_file(1, layout.model_file(1))), threads=1)
    expected = file.predict(IMAGES[HELD.image][None]).probabilities[0]
    assert list(answer["probabilities"].values()) == expected.tolist()
    assert (answer["class"], answer["version"], answer["correction"]) == ("class 1", 1, HELD.key)
    assert client.post("/predict", content=OTHER).json()["correction"] is None


def test_an_image_of_another_size_is_fitted(client: TestClient) -> None:
    large = np.repeat(np.repeat(IMAGES[9], 4, axis=0), 4, axis=1)
    assert client.post("/predict", content=encode_png(large)).json()["class"].startswith("class")


def test_a_swap_is_seen_and_a_bad_release_is_told(
    client: TestClient, storage: LocalStorage, follower: Follower
) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    made = release(storage, 2)
    follower.refresh()
    answer = client.post("/predict", content=PNG).json()
    assert (answer["version"], answer["correction"]) == (2, None)
    third = release(storage, 3, (HELD,))
    path = Path(storage.url) / layout.release_file(3, "edit.json")
    path.chmod(0o644)
    path.write_bytes(b"{}")
    follower.refresh()
    health = client.get("/healthz")
    assert (health.status_code, health.json()) == (
        200,
        {"status": "behind", "version": 2, "wanted": 3, "manifest_sha256": made.manifest.digest},
    )
    assert client.post("/predict", content=PNG).json()["version"] == 2
    assert "errata_behind 1.0" in client.get("/metrics").text
    assert third.manifest.version == 3


def test_nothing_released_yet(storage: LocalStorage) -> None:
    with TestClient(create_app(storage, Follower(storage, every=3600))) as client:
        assert client.get("/healthz").status_code == 503
        response = client.post("/predict", content=PNG)
        assert problem(response, 503) == Code.NOTHING_SERVED
        assert response.headers["retry-after"]
        assert str(storage.url) not in response.text


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, Code.UNUSABLE),
        (b"plain text", 422, Code.UNUSABLE),
        (PNG[:60], 422, Code.UNUSABLE),
        (b"x" * 5001, 413, Code.TOO_LARGE),
        (encode_png(np.zeros((101, 100, 1), np.uint8)), 413, Code.TOO_LARGE),
        (b"../../etc/passwd", 422, Code.UNUSABLE),
    ],
    ids=["empty", "text", "truncated", "bytes", "pixels", "path"],
)
def test_refusals_are_typed(client: TestClient, content: bytes, status: int, code: Code) -> None:
    assert problem(client.post("/predict", content=content), status) == code


def form(*parts: tuple[str, bytes]) -> dict[str, Any]:
    """A request with a form of files, each with what its author calls it."""
    lines = [
        b'--edge\r\nContent-Disposition: form-data; name="x"; filename="%b"\r\n\r\n%b\r\n' % (name.encode(), content)
        for name, content in parts
    ]
    return {
        "content": b"".join(lines) + b"--edge--\r\n",
        "headers": {"Content-Type": "multipart/form-data; boundary=edge"},
    }


def test_a_form_with_one_file_is_that_file(client: TestClient) -> None:
    alone = client.post("/predict", content=PNG).json()
    answer = client.post("/predict", **form(("../../etc/passwd", PNG))).json()
    assert answer == alone  # also the token, which names the bytes
    asked = {"prediction": answer["prediction"], "expected": "class 0", "reporter": "ann"}
    filed = client.post("/report", params=asked, **form(("photo.png", PNG)))
    assert filed.status_code == 201
    assert client.post("/report", params=asked, content=PNG).json() == filed.json()


@pytest.mark.parametrize(
    "content",
    [
        form(("a.png", PNG), ("b.png", PNG))["content"],
        form(("a.png", PNG))["content"][:-12],
        form()["content"],
        b"no form at all",
        form(("a.txt", b"text"))["content"],
    ],
    ids=["two files", "breaks off", "no file", "no form", "no image"],
)
def test_a_form_of_anything_else_is_refused_and_fills_no_log(
    client: TestClient, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    headers = form()["headers"]
    assert problem(client.post("/predict", content=content, headers=headers), 422) == Code.UNUSABLE
    nameless = {"Content-Type": "multipart/form-data"}
    assert problem(client.post("/predict", content=content, headers=nameless), 422) == Code.UNUSABLE
    assert not [each for each in caplog.records if each.name.startswith("python_multipart")]


def test_unknown_routes_methods_and_faults_have_the_same_form(
    client: TestClient, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problem(client.get("/releases/1/manifest.json"), 404) == Code.NOT_FOUND
    assert problem(client.get("/predict"), 405) == Code.NOT_ALLOWED

    def broken(*_: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(type(follower.release), "predict", broken)
    response = client.post("/predict", content=PNG)
    assert problem(response, 500) == Code.FAULT
    assert "secret" not in response.text


def report(client: TestClient, content: bytes, **parameters: str) -> Any:
    return client.post("/report", params=parameters, content=content)


def test_a_report_says_what_was_predicted_and_by_which_release(client: TestClient, storage: LocalStorage) -> None:
    answer = client.post("/predict", content=PNG).json()
    filed = report(client, PNG, prediction=answer["prediction"], expected="class 2", reporter="ann", note="look")
    assert filed.status_code == 201
    stored = parse_report(storage.get(layout.inbox_report(filed.json()["report"])))
    assert (stored.expected, stored.predicted, stored.model_version) == ("class 2", "class 1", 1)
    assert (stored.reporter, stored.note) == ("ann", "look")
    assert storage.get(layout.image(stored.image)) == PNG
    again = report(client, PNG, prediction=answer["prediction"], expected="class 2", reporter="ann")
    assert again.json() == filed.json()


def test_reports_that_are_refused_leave_nothing_in_the_store(client: TestClient, storage: LocalStorage) -> None:
    token = client.post("/predict", content=PNG).json()["prediction"]
    before = list(storage.keys(""))
    assert problem(report(client, OTHER, prediction=token, expected="class 2"), 422) == Code.UNKNOWN_PREDICTION
    assert problem(report(client, PNG, prediction="made-up", expected="class 2"), 422) == Code.UNKNOWN_PREDICTION
    assert problem(report(client, PNG, prediction=token, expected="class 9"), 422) == Code.UNUSABLE
    assert problem(report(client, PNG, prediction=token, expected="class 1"), 422) == Code.UNUSABLE  # as predicted
    assert problem(report(client, PNG, prediction=token), 422) == Code.INVALID
    assert problem(report(client, PNG, prediction=token, expected="class 2", reporter="a\nb"), 422) == Code.UNUSABLE
    assert list(storage.keys("")) == before


def test_a_reporter_is_told_what_became_of_a_report_and_nothing_of_others(
    client: TestClient, storage: LocalStorage
) -> None:
    token = client.post("/predict", content=PNG).json()["prediction"]
    name = report(client, PNG, prediction=token, expected="class 2", reporter="ann").json()["report"]
    nothing = {"reason": None, "version": None, "more": None}
    assert client.get(f"/reports/{name}").json() == {"report": name, "state": "new", **nothing}
    side = Waiting("c" * 64, "class 2", 0.25, (name,), "2 reporters", 1)
    keep_waiting(storage, WaitingClaims("2026-01-01T02:00:00+00:00", "a run", (side,)))
    assert client.get(f"/reports/{name}").json() == {"report": name, "state": "waiting", **nothing, "more": 1}
    quarantine(storage, Refusal(name, Reason.CONFLICT, f"bob says so, and {storage.url}"), datetime.now(UTC))
    refused = client.get(f"/reports/{name}")
    assert refused.json() == {"report": name, "state": "refused", **nothing, "reason": "conflict"}
    assert problem(client.get(f"/reports/{'a' * 64}"), 404) == Code.NOT_FOUND
    for other in ("..%2f..%2flive.json", name[:12], "A" * 64):
        assert client.get(f"/reports/{other}").status_code in (404, 422)
    assert problem(client.delete(f"/reports/{name}"), 405) == Code.NOT_ALLOWED


def test_without_reports_there_is_no_route(storage: LocalStorage, follower: Follower) -> None:
    with TestClient(create_app(storage, follower, Settings(reports=False))) as client:
        assert problem(client.post("/report", content=PNG), 404) == Code.NOT_FOUND


def sample(page: str, name: str) -> float:
    return float(next(line.rsplit(" ", 1)[1] for line in page.splitlines() if line.startswith(name + " ")))


def test_metrics_count_what_happened(client: TestClient) -> None:
    for content in (PNG, PNG, OTHER, b"not an image"):
        client.post("/predict", content=content)
    client.get("/no/such/page")
    page = client.get("/metrics").text
    assert sample(page, 'errata_predictions_total{version="1"}') == 3
    assert sample(page, f'errata_slots_fired_total{{correction="{HELD.key}"}}') == 2
    assert sample(page, 'errata_request_seconds_count{route="/predict",status="200"}') == 3
    assert sample(page, 'errata_request_seconds_count{route="/predict",status="422"}') == 1
    assert sample(page, 'errata_request_seconds_count{route="other",status="404"}') == 1
    assert sample(page, "errata_live_version") == 1
    assert "/no/such/page" not in page


async def dripping(begun: list[bool]) -> AsyncIterator[bytes]:
    begun.append(True)
    yield b"a"
    await asyncio.Event().wait()


def test_a_slow_body_is_told_so(storage: LocalStorage) -> None:
    app = create_app(storage, Follower(storage, every=3600), Settings(body_seconds=0.1))

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return await client.post("/predict", content=dripping([]))

    assert problem(asyncio.run(run()), 408) == Code.TOO_SLOW


def test_where_too_many_bodies_arrive_the_oldest_gives_way(storage: LocalStorage, follower: Follower) -> None:
    release(storage, 1)
    follower.refresh()
    app = create_app(storage, follower, Settings(body_seconds=3600, in_progress=2))

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            begun: list[bool] = []
            slow = [asyncio.create_task(client.post("/predict", content=dripping(begun))) for _ in range(4)]
            while len(begun) < 4:
                await asyncio.sleep(0)
            honest = await client.post("/predict", content=PNG)
            done, _ = await asyncio.wait(slow[:3])
            assert not slow[3].done(), "there is room for one beside the honest one"
            slow[3].cancel()
            return [honest, *(each.result() for each in done)]

    honest, *slow = asyncio.run(run())
    assert honest.status_code == 200
    assert {problem(each, 408) for each in slow} == {Code.TOO_SLOW}


def test_more_work_than_allowed_is_refused(storage: LocalStorage, follower: Follower) -> None:
    release(storage, 1)
    follower.refresh()
    predict, begun, over = follower.release.predict, threading.Event(), threading.Event()

    class Held:
        image_shape, classes = follower.release.image_shape, follower.release.classes

        def predict(self, images: Any) -> Any:
            begun.set()
            over.wait()
            return predict(images)

    class Busy(Follower):
        release = Held()  # type: ignore[assignment]

    app = create_app(storage, Busy(storage), Settings(in_progress=1, workers=1))

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            first = asyncio.create_task(client.post("/predict", content=PNG))
            await asyncio.to_thread(begun.wait)
            second = await client.post("/predict", content=PNG)
            over.set()
            return [await first, second]

    first, second = asyncio.run(run())
    assert first.status_code == 200
    assert problem(second, 503) == Code.BUSY


def test_a_small_file_of_many_pixels_is_refused_by_its_header(client: TestClient) -> None:
    bomb = io.BytesIO()
    Image.new("1", (4096, 4096)).save(bomb, "PNG")
    assert len(bomb.getvalue()) < 5000
    assert problem(client.post("/predict", content=bomb.getvalue()), 413) == Code.TOO_LARGE


def test_the_description_names_every_refusal(client: TestClient) -> None:
    described: dict[str, Any] = client.get("/openapi.json").json()
    own = {path for path in described["paths"] if not path.startswith("/v2")}
    assert own == {"/predict", "/report", "/reports/{report}", "/healthz", "/metrics"}
    for path in ("/predict", "/report"):
        responses = described["paths"][path]["post"]["responses"]
        for status in ("408", "413", "422", "503"):
            assert "Problem" in json.dumps(responses[status]), (path, status)


def test_a_rollback_is_served(client: TestClient, storage: LocalStorage, follower: Follower) -> None:
    first = release(storage, 2)
    release(storage, 3, (HELD,))
    follower.refresh()
    point_at(storage, first.manifest)
    follower.refresh()
    assert client.post("/predict", content=PNG).json()["version"] == 2
