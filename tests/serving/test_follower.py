"""The follower: serves what verifies, swaps whole, keeps the last good release and says so."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation
from errata.data.releases.manifest import FileEntry, Live, read_live, sha256
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, NothingServed
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.serving.follower import Follower
from errata.serving.release import Release, load_release
from tests.serving.releases import IMAGES, Correction, bundle, patched, point_at, release

FIRST, SECOND = Correction(3, 1, 2), Correction(5, 2, 0)


def live(storage: LocalStorage) -> Live:
    found = read_live(storage)
    assert found is not None
    return found[0]


def damage(storage: LocalStorage, key: str) -> None:
    path = Path(storage.url) / key
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_predictions_are_the_models_and_name_the_correction_that_decided(storage: LocalStorage) -> None:
    made = release(storage, 1, (FIRST, SECOND))
    follower = Follower(storage)
    assert follower.refresh()
    model = patched((FIRST, SECOND))
    with torch.no_grad():
        expected = torch.softmax(model(torch.from_numpy(IMAGES)), 1).numpy()
    answers = follower.predict(IMAGES)
    np.testing.assert_allclose(np.stack([each.probabilities for each in answers]), expected, atol=1e-5)
    assert [each.predicted for each in answers] == [model.spec.classes[index] for index in expected.argmax(1)]
    assert {index: each.correction for index, each in enumerate(answers) if each.correction} == {
        FIRST.image: FIRST.key,
        SECOND.image: SECOND.key,
    }
    assert answers[FIRST.image].predicted == "class 1"
    assert {each.version for each in answers} == {1}
    assert (follower.state.version, follower.state.digest) == (1, made.manifest.digest)


def test_nothing_released_is_a_state_and_an_error_to_who_asks(storage: LocalStorage) -> None:
    follower = Follower(storage)
    assert not follower.refresh()
    assert "nothing is released yet" in follower.state.problem
    with pytest.raises(NothingServed, match="errata train"):
        follower.predict(IMAGES)


def test_it_follows_releases_and_rollbacks(storage: LocalStorage) -> None:
    first = release(storage, 1, (FIRST,))
    follower = Follower(storage)
    assert follower.refresh()
    assert not follower.refresh(), "nothing changed"
    release(storage, 2, (FIRST, SECOND))
    assert follower.refresh()
    assert follower.predict(IMAGES)[SECOND.image].correction == SECOND.key
    point_at(storage, first.manifest)
    assert follower.refresh()
    assert follower.predict(IMAGES)[SECOND.image].correction is None
    assert follower.state.version == 1


@pytest.mark.parametrize("name", [layout.model_file(2), "edit.json", "manifest.json"])
def test_a_changed_byte_is_never_served(storage: LocalStorage, name: str) -> None:
    release(storage, 1)
    follower = Follower(storage)
    follower.refresh()
    release(storage, 2, (FIRST,))
    damage(storage, layout.release_file(2, name))
    assert not follower.refresh()
    state = follower.state
    assert (state.version, state.wanted) == (1, 2)
    assert "SHA-256" in state.problem
    assert name in state.problem
    assert follower.predict(IMAGES)[0].version == 1
    damage(storage, layout.release_file(2, name))  # the same bit again: it is whole
    assert follower.refresh()
    assert (follower.state.version, follower.state.problem) == (2, "")


def test_a_correction_in_the_weights_is_named_on_its_very_image_and_nowhere_else(storage: LocalStorage) -> None:
    """Image 8 was wrong in the root; 9 was right by itself; 10 is not what it should be."""
    plain = bundle(1, (FIRST,))
    publish(storage, plain)
    point_at(storage, plain.manifest)
    said = [each.predicted for each in load_release(storage, live(storage)).predict(IMAGES)]
    other = {"class 0": "class 1"}
    found = [
        (8, other.get(said[8], "class 0"), said[8], -1),
        (9, said[9], said[9], -1),
        (10, said[10], other.get(said[10], "class 0"), -1),
        (FIRST.image, "class 0", "class 1", FIRST.slot),
    ]
    corrections = tuple(
        CorrectionOutcome(pixel_digest(IMAGES[image]), expected, before, 0.9, expected, 0.9, slot, 8, 8)
        for image, before, expected, slot in found
    )
    made = bundle(2, (FIRST,))
    files = {**made.files, "evaluation.json": Evaluation(corrections, (), ()).to_json()}
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    made = Bundle(replace(made.manifest, files=entries), files)
    publish(storage, made)
    point_at(storage, made.manifest)
    answers = load_release(storage, live(storage)).predict(IMAGES)
    named = {index: each.correction for index, each in enumerate(answers) if each.correction}
    assert named == {8: pixel_digest(IMAGES[8]), FIRST.image: FIRST.key}


def wrong_model(content: bytes) -> Callable[[], Bundle]:
    def make() -> Bundle:
        good = bundle(2)
        files = {**good.files, layout.model_file(2): content}
        entries = {each: FileEntry(sha256(files[each]), len(files[each])) for each in files}
        return Bundle(replace(good.manifest, files=entries), files)

    return make


def other_version() -> Bundle:
    return wrong_model(bundle(3).files[layout.model_file(3)])()


@pytest.mark.parametrize("make", [wrong_model(b"no model"), other_version], ids=["not ONNX", "of another version"])
def test_a_release_that_verifies_but_cannot_be_served_is_not(storage: LocalStorage, make: Callable[[], Bundle]) -> None:
    release(storage, 1)
    follower = Follower(storage)
    follower.refresh()
    made = make()
    publish(storage, made)
    point_at(storage, made.manifest)
    assert not follower.refresh()
    assert follower.predict(IMAGES)[0].version == 1
    assert follower.state.problem


def test_a_pointer_to_a_manifest_of_another_digest_is_refused(storage: LocalStorage) -> None:
    release(storage, 1)
    with pytest.raises(Damaged):
        load_release(storage, Live(1, "0" * 64, None, 1, 1))


def test_a_refused_release_is_not_fetched_at_every_look_but_a_rollback_is_seen_at_the_next(
    storage: LocalStorage,
) -> None:
    first = release(storage, 1)
    loads: list[int] = []

    def load(store: Storage, live: Live) -> Release:
        loads.append(live.version)
        if live.version == 2:
            raise Damaged("as if damaged")
        return load_release(store, live)

    with Follower(storage, load=load, every=0.05) as follower:
        release(storage, 2)
        wait_for(lambda: follower.state.wanted == 2)
        time.sleep(0.5)
        assert 1 <= loads.count(2) <= 4, "looked about ten times, fetched at 0.1, 0.3, 0.7 seconds"
        assert follower.state.problem == "as if damaged"
        point_at(storage, first.manifest)
        wait_for(lambda: follower.state.problem == "")
        assert follower.state.version == 1


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_the_thread_survives_what_nobody_expected(storage: LocalStorage) -> None:
    release(storage, 1)
    faults = [RuntimeError("no error of ours")]

    def load(store: Storage, live: Live) -> Release:
        if live.version == 2 and faults:
            raise faults.pop()
        return load_release(store, live)

    with Follower(storage, load=load, every=0.02) as follower:
        release(storage, 2)
        wait_for(lambda: follower.state.version == 2)
    assert not faults


def test_no_batch_is_answered_by_two_releases(storage: LocalStorage) -> None:
    """Threads predict while releases come and go: each answer is whole, of the release that it names."""
    bundles = {version: bundle(version, seed=version) for version in (1, 2, 3)}
    for made in bundles.values():
        publish(storage, made)
    manifests = {version: made.manifest for version, made in bundles.items()}
    truth: dict[int, np.ndarray] = {}
    follower = Follower(storage, every=0.01)
    for version, manifest in manifests.items():
        point_at(storage, manifest)
        follower.refresh()
        truth[version] = np.stack([each.probabilities for each in follower.predict(IMAGES)])
    assert not np.allclose(truth[1], truth[2])
    seen: set[int] = set()
    wrong: list[str] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            answers = follower.predict(IMAGES)
            versions = {each.version for each in answers}
            seen.update(versions)
            got = np.stack([each.probabilities for each in answers])
            if len(versions) != 1 or not np.array_equal(got, truth[versions.pop()]):
                wrong.append("mixed")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    with follower:
        for thread in threads:
            thread.start()
        for _ in range(2):
            for version, manifest in manifests.items():
                point_at(storage, manifest)
                wait_for(lambda version=version: follower.state.version == version)  # type: ignore[misc]
        over.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert seen == {1, 2, 3}


def test_serving_needs_no_torch() -> None:
    code = "import errata.serving.service, sys; sys.exit(bool({'torch', 'prefect', 'dvc'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unsigned_release_is_refused_where_a_key_is_trusted(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "errata.key", tmp_path / "errata.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    monkeypatch.setenv(SIGNING_KEY, str(private))
    release(storage, 1)
    follower = Follower(storage)
    assert follower.refresh()
    for name in (SIGNING_KEY, PUBLIC_KEY):
        monkeypatch.delenv(name)
    release(storage, 2)
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    assert not follower.refresh()
    assert "sign" in follower.state.problem
    assert follower.predict(IMAGES)[0].version == 1


@pytest.fixture
def kept(storage: LocalStorage, tmp_path: Path) -> Path:
    """A folder where an earlier process kept release 1; release 2 is live and damaged."""
    folder = tmp_path / "kept"
    release(storage, 1, (FIRST,))
    assert Follower(storage, keep=folder).refresh()
    release(storage, 2, (FIRST, SECOND))
    damage(storage, layout.release_file(2, layout.model_file(2)))
    return folder


def test_a_start_beside_a_damaged_release_serves_the_last_good_one(
    storage: LocalStorage, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(storage, keep=kept)
    assert not follower.refresh()
    assert follower.predict(IMAGES)[FIRST.image].correction == FIRST.key
    assert (follower.state.version, follower.state.wanted) == (1, 2)
    assert "SHA-256" in follower.state.problem
    assert "release 1 is served from the copy" in caplog.text
    damage(storage, layout.release_file(2, layout.model_file(2)))  # whole again
    assert follower.refresh()
    assert (follower.state.version, follower.state.problem) == (2, "")
    bundles = {path.parts[-2] for path in kept.glob("*/releases/*/manifest.json")}
    assert bundles == {"2"}, "only the last good one is kept"


def few_classes(model: onnx.ModelProto) -> None:
    set_classes(model, '["class 0"]')


def deep_classes(model: onnx.ModelProto) -> None:
    set_classes(model, "[" * 100_000)


def images_of_any_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"


def no_answer(model: onnx.ModelProto) -> None:
    """It loads, and fails where it runs: logits of one image are no 5 times 5 numbers."""
    (node,) = [each for each in model.graph.node if "logits" in each.output]
    node.output[list(node.output).index("logits")] = "before"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 35]), "another shape"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["before", "another shape"], ["logits"]))
    for each in model.graph.node:
        each.input[:] = ["before" if name == "logits" else name for name in each.input]
    del model.graph.output[0].type.tensor_type.shape.dim[1]


def set_classes(model: onnx.ModelProto, value: str) -> None:
    (found,) = [each for each in model.metadata_props if each.key == "errata.classes"]
    found.value = value


@pytest.mark.parametrize("change", [few_classes, deep_classes, images_of_any_size, no_answer])
def test_a_release_that_verifies_and_cannot_answer_is_not_served_by_who_starts_either(
    storage: LocalStorage, tmp_path: Path, change: Callable[[onnx.ModelProto], object]
) -> None:
    release(storage, 1, (FIRST,))
    assert Follower(storage, keep=tmp_path / "keep").refresh()
    made = bundle(2)
    name = layout.model_file(2)
    model = onnx.load_from_string(made.files[name])
    change(model)
    content = model.SerializeToString()
    files = {**made.manifest.files, name: FileEntry(sha256(content), len(content))}
    evil = Bundle(replace(made.manifest, files=files), {**made.files, name: content})
    publish(storage, evil)
    point_at(storage, evil.manifest)
    follower = Follower(storage, keep=tmp_path / "keep")
    assert not follower.refresh()
    assert follower.predict(IMAGES)[FIRST.image].correction == FIRST.key
    assert (follower.state.version, follower.state.wanted) == (1, 2)
    assert follower.state.problem


def test_a_start_without_the_store_serves_the_last_good_one(storage: LocalStorage, kept: Path) -> None:
    Path(storage.url).rename(f"{storage.url}.away")
    follower = Follower(storage, keep=kept)
    assert not follower.refresh()
    assert follower.state.version == 1


@pytest.mark.parametrize("name", [layout.model_file(1), "edit.json", "manifest.json"])
def test_a_copy_that_was_changed_is_not_served_and_is_made_anew(storage: LocalStorage, kept: Path, name: str) -> None:
    (folder,) = kept.iterdir()
    damage(LocalStorage(folder), layout.release_file(1, name))
    follower = Follower(storage, keep=kept)
    assert not follower.refresh()
    assert follower.state.version is None
    point_at(storage, bundle(1, (FIRST,)).manifest)
    assert follower.refresh()
    assert Follower(LocalStorage(folder)).refresh(), "the copy is whole again"


def test_what_was_kept_of_one_store_is_not_served_for_another(tmp_path: Path, kept: Path) -> None:
    follower = Follower(LocalStorage(tmp_path / "other"), keep=kept)
    assert not follower.refresh()
    assert follower.state.version is None


def test_where_no_copy_can_be_kept_the_release_is_served_all_the_same(
    storage: LocalStorage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    release(storage, 1)
    follower = Follower(storage, keep=tmp_path / "file" / "kept")
    assert follower.refresh()
    assert "no copy of it is kept" in caplog.text


def test_a_copy_without_the_wanted_signature_is_not_served(
    storage: LocalStorage, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    public = tmp_path / "public.pem"
    key = Ed25519PrivateKey.generate().public_key()
    public.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    follower = Follower(storage, keep=kept)
    assert not follower.refresh()
    assert follower.state.version is None
    assert "cannot be served either" in caplog.text
    assert "sign" in caplog.text
