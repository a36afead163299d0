"""A candidate beside the live release: what it would say otherwise is counted, and never answered."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from errata.data import layout
from errata.data.images import encode_png
from errata.data.releases.candidate import Candidate, point_at_candidate, read_candidate, seen_counts
from errata.data.releases.manifest import Live, read_live
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.serving.follower import Follower
from errata.serving.release import Release, load_release
from errata.serving.service import create_app
from errata.serving.settings import Settings
from errata.serving.shadow import WAITING, Shadow
from tests.serving.releases import IMAGES, Correction, bundle, point_at, release

HELD = Correction(3, 2, 2)  # the model without it says class 1


def in_shadow(storage: Storage, version: int, corrections: tuple[Correction, ...] = (HELD,), seed: int = 0) -> Bundle:
    """Publish a bundle that is not live, and have services ask it."""
    found = read_live(storage)
    assert found is not None
    made = bundle(version, corrections, seed)
    publish(storage, made)
    parent = found[0].manifest_sha256
    point_at_candidate(storage, Candidate(version, made.manifest.digest, parent, (), (), "a run", "now"))
    return made


def answers(storage: Storage, version: int) -> list[int]:
    """What the file of a release says of IMAGES."""
    content = storage.get(layout.release_file(version, layout.model_file(version)))
    return [int(row) for row in OnnxClassifier(content, threads=1).predict(IMAGES).logits.argmax(1)]


@pytest.fixture
def follower(storage: LocalStorage) -> Follower:
    release(storage, 1)
    follower = Follower(storage, every=3600)
    follower.refresh()
    return follower


@pytest.fixture
def shadow(storage: LocalStorage, follower: Follower) -> Shadow:
    return Shadow(storage, follower, every=3600)


def test_where_it_would_answer_otherwise_is_counted_logged_and_written(
    storage: LocalStorage, follower: Follower, shadow: Shadow, caplog: pytest.LogCaptureFixture
) -> None:
    made = in_shadow(storage, 2)
    shadow.look()
    assert shadow.version == 2
    differ = sum(a != b for a, b in zip(answers(storage, 1), answers(storage, 2), strict=True))
    assert differ == 1, "the one correction that the candidate has changes one image"
    with caplog.at_level(logging.INFO, logger="errata.serving.shadow"):
        shadow.ask(IMAGES, follower.predict(IMAGES))
    assert shadow.seen == {"same": len(IMAGES) - differ, "changed": differ}
    (line,) = [each.getMessage() for each in caplog.records if each.name == "errata.serving.shadow"]
    assert "candidate 2 would say 'class 2'" in line
    assert HELD.key in line

    shadow.keep()
    shadow.ask(IMAGES[:5], follower.predict(IMAGES[:5]))
    shadow.keep()
    shadow.keep()  # nothing new, nothing written
    written = list(seen_counts(storage, made.manifest.digest, follower.state.digest))
    assert sorted((each.requests, each.changed, each.failed) for each in written) == [(5, 1, 0), (len(IMAGES), 1, 0)]
    assert list(seen_counts(storage, made.manifest.digest, "0" * 64)) == []  # beside another release: nothing


def test_a_candidate_of_another_parent_is_not_asked(storage: LocalStorage, follower: Follower, shadow: Shadow) -> None:
    in_shadow(storage, 2)
    shadow.look()
    old = follower.predict(IMAGES[:1])
    release(storage, 3, (Correction(9, 0, 1),))
    follower.refresh()
    shadow.look()
    assert (shadow.version, shadow.problem) == (None, "")
    in_shadow(storage, 4)
    shadow.look()
    assert shadow.version == 4
    shadow.ask(IMAGES[:1], old)  # it was answered by release 1, and this candidate is one of release 3
    assert not shadow.seen


def test_once_it_is_live_nobody_asks_it(storage: LocalStorage, follower: Follower, shadow: Shadow) -> None:
    in_shadow(storage, 2)
    shadow.look()
    release(storage, 2, (HELD,))
    follower.refresh()
    shadow.look()
    assert (follower.release.version, shadow.version) == (2, None)

    # a rollback makes its parent live again: it waits for nothing, whatever candidate.json still says
    found = read_live(storage)
    assert found is not None and found[0].newest == 2
    point_at(storage, bundle(1).manifest)
    follower.refresh()
    shadow.look()
    assert (follower.release.version, shadow.version) == (1, None)
    candidate = read_candidate(storage)
    assert candidate is not None and candidate.parent == follower.state.digest


def test_a_damaged_candidate_is_not_asked_and_the_live_release_goes_on(
    storage: LocalStorage, follower: Follower, shadow: Shadow
) -> None:
    in_shadow(storage, 2)
    path = Path(storage.url) / layout.release_file(2, layout.model_file(2))
    path.chmod(0o644)
    path.write_bytes(b"no model")
    shadow.look()
    assert (shadow.version, "2" in shadow.problem) == (None, True)
    assert follower.predict(IMAGES[:1])[0].version == 1
    assert follower.state.problem == ""
    swap = storage.read(layout.CANDIDATE)
    storage.swap(layout.CANDIDATE, b"{}", expected=swap.tag)
    shadow.look()
    assert "cannot be read" in shadow.problem
    storage.delete(layout.CANDIDATE)
    shadow.look()
    assert shadow.problem == ""


class Broken:
    """Stands for a candidate's network that fails, or hangs until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def load(self, storage: Storage, live: Live) -> Release:
        whole = load_release(storage, live)

        def predict(*_: object) -> None:
            self.go.wait()
            raise MemoryError("no room for this candidate")

        object.__setattr__(whole, "predict", predict)
        return whole


def test_a_candidate_that_fails_is_counted_against_it(storage: LocalStorage, follower: Follower) -> None:
    broken = Broken()
    broken.go.set()
    shadow = Shadow(storage, follower, load=broken.load)
    made = in_shadow(storage, 2)
    shadow.look()
    shadow.ask(IMAGES, follower.predict(IMAGES))
    assert shadow.seen == {"failed": len(IMAGES)}
    shadow.keep()
    (written,) = seen_counts(storage, made.manifest.digest, follower.state.digest)
    assert (written.requests, written.failed) == (len(IMAGES), len(IMAGES))


def test_a_candidate_that_hangs_delays_no_answer(storage: LocalStorage, follower: Follower) -> None:
    broken = Broken()
    shadow = Shadow(storage, follower, load=broken.load, every=3600)
    in_shadow(storage, 2)
    with shadow:
        for _ in range(WAITING + 10):
            predictions = follower.predict(IMAGES[:1])
            assert predictions[0].version == 1
            shadow.compare(IMAGES[:1], predictions)
        assert shadow.seen["skipped"] >= 9  # one may be with the candidate already
        broken.go.set()


def test_a_store_that_takes_no_counts_harms_nothing(
    storage: LocalStorage, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = in_shadow(storage, 2)
    shadow = Shadow(storage, follower)
    shadow.look()
    shadow.ask(IMAGES, follower.predict(IMAGES))

    def refused(key: str, content: bytes) -> None:
        raise Damaged("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "put_once", refused)
        shadow.keep()
    shadow.keep()  # what could not be written then is written now
    (written,) = seen_counts(storage, made.manifest.digest, follower.state.digest)
    assert written.requests == len(IMAGES)


@pytest.fixture
def client(storage: LocalStorage, follower: Follower, shadow: Shadow) -> Iterator[TestClient]:
    in_shadow(storage, 2)
    with TestClient(create_app(storage, follower, Settings(), shadow=shadow)) as client:
        yield client


def test_the_service_answers_by_what_is_live_and_counts_what_the_candidate_says(
    client: TestClient, storage: LocalStorage, shadow: Shadow
) -> None:
    classes = [f"class {each}" for each in answers(storage, 1)]
    for number in (HELD.image, 9):
        answer = client.post("/predict", content=encode_png(IMAGES[number])).json()
        assert (answer["class"], answer["version"], answer["correction"]) == (classes[number], 1, None)
    tensor = {
        "name": "images",
        "shape": list(IMAGES[:2].shape),
        "datatype": "UINT8",
        "data": IMAGES[:2].ravel().tolist(),
    }
    assert client.post("/v2/models/classifier/infer", json={"inputs": [tensor]}).status_code == 200
    for _ in range(600):  # the candidate is asked on a thread of its own
        if sum(shadow.seen.values()) == 4:
            break
        threading.Event().wait(0.05)
    page = client.get("/metrics").text
    assert 'errata_shadow_images_total{outcome="same"} 3.0' in page
    assert 'errata_shadow_images_total{outcome="changed"} 1.0' in page
    assert "errata_shadow_version 2.0" in page
    assert 'errata_predictions_total{version="2"}' not in page
