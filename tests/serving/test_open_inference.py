"""The Open Inference Protocol as clients speak it: what the file itself says, as JSON and raw bytes, and refusals."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from errata.data.images import ImageLimits, encode_png
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.classifier import OnnxClassifier
from errata.serving.follower import Follower
from errata.serving.problems import Code
from errata.serving.service import create_app
from errata.serving.settings import Settings
from tests.serving.releases import IMAGES, Correction, bundle, release

HELD = Correction(3, 1, 2)
INFER = "/v2/models/classifier/infer"
BATCH = IMAGES[2:5]


def problem(response: Any, status: int) -> Code:
    """The code of a refusal, which says in `error` what is wrong, as the protocol has it."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code"}
    assert body["error"] not in set(Code)
    return Code(body["code"])


def whole_file() -> OnnxClassifier:
    """The released file, opened by itself."""
    files = bundle(1, (HELD,)).files
    return OnnxClassifier(next(content for name, content in files.items() if name.endswith(".onnx")), threads=1)


@pytest.fixture
def app(storage: LocalStorage) -> FastAPI:
    release(storage, 1, (HELD,))
    settings = Settings(image=ImageLimits(max_bytes=100_000), workers=2)
    return create_app(storage, Follower(storage, every=3600), settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def asked(**more: Any) -> dict[str, Any]:
    """A request for BATCH in JSON."""
    given = {"name": "images", "shape": list(BATCH.shape), "datatype": "UINT8", "data": BATCH.ravel().tolist()}
    return {"inputs": [given | more.pop("given", {})], **more}


def outputs(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer.json()["outputs"]}


@pytest.mark.parametrize("nested", [False, True])
def test_a_batch_is_answered_as_the_file_answers_it(client: TestClient, nested: bool) -> None:
    given = {"data": BATCH.tolist()} if nested else {}
    answer = client.post(INFER, json=asked(id="a request", given=given))
    found, expected = outputs(answer), whole_file().predict(BATCH)
    for name in ("logits", "probabilities", "slot", "kind"):
        assert np.array_equal(found[name].astype(getattr(expected, name).dtype), getattr(expected, name)), name
    assert found["class"].tolist() == [f"class {index}" for index in expected.logits.argmax(1)]
    assert found["correction"].tolist() == ["", HELD.key, ""]
    assert {name: answer.json()[name] for name in ("id", "model_name", "model_version")} == {
        "id": "a request",
        "model_name": "classifier",
        "model_version": "1",
    }
    assert 'errata_predictions_total{version="1"} 3.0' in client.get("/metrics").text


def test_only_what_is_wanted_is_answered(client: TestClient) -> None:
    assert list(outputs(client.post(INFER, json=asked(outputs=[{"name": "slot"}])))) == ["slot"]
    wrong = client.post(INFER, json=asked(outputs=[{"name": "sloth"}]))
    assert problem(wrong, 422) == Code.UNUSABLE


def test_raw_bytes_in_and_out(client: TestClient) -> None:
    head = asked(parameters={"binary_data_output": True}, outputs=[{"name": "logits"}, {"name": "class"}])
    del head["inputs"][0]["data"]
    head["inputs"][0]["parameters"] = {"binary_data_size": BATCH.size}
    text = json.dumps(head).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    answer = client.post(INFER, content=text + BATCH.tobytes(), headers=headers)
    size = int(answer.headers["Inference-Header-Content-Length"])
    expected = whole_file().predict(BATCH).logits
    told, rest = json.loads(answer.content[:size]), answer.content[size:]
    assert [each["parameters"]["binary_data_size"] for each in told["outputs"]] == [expected.nbytes, 3 * (4 + 7)]
    assert np.array_equal(np.frombuffer(rest[: expected.nbytes], "<f4").reshape(expected.shape), expected)
    assert rest[expected.nbytes :][:11] == b"\x07\0\0\0class " + str(expected[0].argmax()).encode()


def test_what_the_server_and_the_model_are(client: TestClient) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/classifier", "/v2/models/classifier/versions/1"):
        about = client.get(path).json()
        assert (about["versions"], about["inputs"]) == (
            ["1"],
            [{"name": "images", "datatype": "UINT8", "shape": [-1, 8, 8, 1]}],
        )
        assert client.get(f"{path}/ready").json()["ready"] is True
        assert client.post(f"{path}/infer", json=asked()).status_code == 200
    for path in ("/v2/models/other", "/v2/models/classifier/versions/2", "/v2/models/classifier/versions/../1"):
        assert problem(client.get(path), 404) == Code.NOT_FOUND
        assert problem(client.post(f"{path}/infer", json=asked()), 404) == Code.NOT_FOUND


def test_nothing_released_is_alive_and_not_ready(storage: LocalStorage) -> None:
    with TestClient(create_app(storage, Follower(storage, every=3600))) as client:
        assert client.get("/v2/health/live").status_code == 200
        assert (client.get("/v2/health/ready").status_code, client.get("/v2").status_code) == (503, 200)
        assert problem(client.get("/v2/models/classifier/ready"), 503) == Code.NOTHING_SERVED
        assert problem(client.post(INFER, json=asked()), 503) == Code.NOTHING_SERVED


PIXELS = BATCH.size


@pytest.mark.parametrize(
    "given",
    [
        {"name": "pixels"},
        {"datatype": "FP32"},
        {"shape": []},
        {"shape": [3, 8, 8]},
        {"shape": [0, 8, 8, 1], "data": []},
        {"shape": [257, 8, 8, 1], "data": [0] * (257 * 64)},
        {"shape": [3, 8, 8, -1]},
        {"shape": [2**62, 8, 8, 1]},
        {"data": None},
        {"data": [0] * (PIXELS - 1)},
        {"data": [0] * (PIXELS - 1) + [256]},
        {"data": [0] * (PIXELS - 1) + [-1]},
        {"data": [0] * (PIXELS - 1) + [0.5]},
        {"data": [0] * (PIXELS - 1) + [10**30]},
        {"data": [0] * (PIXELS - 1) + ["0"]},
        {"data": [[0], [0, 1]]},
        {"data": None, "parameters": {"binary_data_size": 10**9}},
        {"parameters": {"binary_data_size": "all"}},
    ],
    ids=lambda given: json.dumps(given)[:40],
)
def test_refusals_are_typed(client: TestClient, given: dict[str, Any]) -> None:
    assert problem(client.post(INFER, json=asked(given=given)), 422) == Code.UNUSABLE


def test_bodies_that_are_none_are_refused(client: TestClient) -> None:
    two = asked()
    two["inputs"] *= 2
    for body in (b"", b"{", b"[]", b"{}", b"[" * 50_000, b"\xff", encode_png(IMAGES[0]), json.dumps(two).encode()):
        assert problem(client.post(INFER, content=body), 422) == Code.UNUSABLE
    assert problem(client.post(INFER, content=b" " * 100_001), 413) == Code.TOO_LARGE
    for length in ("-1", "1e3", "99999999", "x", "9" * 5000):
        headers = {"Inference-Header-Content-Length": length}
        assert problem(client.post(INFER, json=asked(), headers=headers), 422) == Code.UNUSABLE
    assert problem(client.get(INFER), 405) == Code.NOT_ALLOWED


def test_what_is_not_offered_is_refused_and_not_answered_otherwise(client: TestClient) -> None:
    for parameters in ({"classification": 2}, {"shared_memory_region": "mine"}):
        other = asked(outputs=[{"name": "probabilities", "parameters": parameters}])
        assert problem(client.post(INFER, json=other), 422) == Code.UNUSABLE
    packed = gzip.compress(json.dumps(asked()).encode())
    assert problem(client.post(INFER, content=packed, headers={"Content-Encoding": "gzip"}), 415) == Code.INVALID


def test_tritons_own_client_reads_it(app: FastAPI) -> None:
    triton = pytest.importorskip("tritonclient.http", reason="not installed: its pins contradict ours")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    expected = whole_file().predict(BATCH)
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("classifier", "1")
        assert not client.is_model_ready("classifier", "2")
        with pytest.raises(triton.InferenceServerException, match="datatype UINT8 and shape"):
            client.infer(
                "classifier", [triton.InferInput("images", [1, 2], "UINT8").set_data_from_numpy(BATCH[0, :1, :2, 0])]
            )
        assert client.get_model_metadata("classifier")["inputs"][0]["shape"] == [-1, 8, 8, 1]
        assert client.get_server_metadata()["name"] == "errata"
        for binary in (True, False):
            images = triton.InferInput("images", list(BATCH.shape), "UINT8")
            images.set_data_from_numpy(BATCH, binary_data=binary)
            names = ("logits", "probabilities", "slot", "kind")
            wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in (*names, "class")]
            answer = client.infer("classifier", [images], outputs=wanted)
            for name in names:
                assert np.array_equal(answer.as_numpy(name), getattr(expected, name)), (name, binary)
            said = [each.decode() if isinstance(each, bytes) else each for each in answer.as_numpy("class")]
            assert said == [f"class {index}" for index in expected.logits.argmax(1)]
        images.set_data_from_numpy(BATCH)
        assert np.array_equal(client.infer("classifier", [images]).as_numpy("slot"), expected.slot)
        with pytest.raises(Exception, match="there is one model here"):
            client.infer("other", [images])
    server.should_exit = True
    thread.join()
