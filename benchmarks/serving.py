"""Claim: under 50 clients, three releases are swapped in, no request fails and none gets an answer of two releases.

python -m benchmarks.serving                50 clients for 30 seconds against the service, a process of its own

Every answer is held against what ONNX Runtime gives for that image from the very file of the release that the answer
names, run here on its own: class and correction equal, probabilities equal to the last bit. The releases are untrained
networks (ResNet-18, width 16, 32x32) that differ on every image, so that a mixed answer cannot pass for a whole one.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from benchmarks.cifar10.models import fresh_model
from errata.data import layout
from errata.data.images import encode_png
from errata.data.releases.edit_record import EditRecord, SlotRecord
from errata.data.releases.manifest import FileEntry, Manifest, read_live, sha256
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.classifier import OnnxClassifier
from errata.editing.onnx.export import onnx_bytes, with_weights
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.flows.releases.pointer import make_live

RELEASES = (1, 2, 3, 4)
IMAGES = 32


@dataclass(frozen=True)
class Expected:
    """What one release answers: for each image, class, probabilities and correction."""

    classes: list[str]
    probabilities: list[list[float]]
    corrections: list[str | None]


@dataclass
class Seen:
    """What the clients saw; one lock for all."""

    seconds: list[float] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def make_releases(storage: LocalStorage, images: NDArray[np.uint8]) -> dict[int, Expected]:
    """Publish every release; returns what each file answers, one image at a time as the service does."""
    model = fresh_model(16).eval()
    graph = onnx_bytes(model, {})
    expected: dict[int, Expected] = {}
    for version in RELEASES:
        torch.manual_seed(version)
        with torch.no_grad():
            model.head.bias.normal_()
            features = model.features(torch.from_numpy(images))
            weights = features[version :: len(RELEASES)] - features.mean(0)  # a slot for every fourth image
            model.patch.value.zero_()
            model.patch.weight[: len(weights)] = weights
            model.patch.threshold[: len(weights)] = (features @ weights.T).amax(0) * 0.99
            model.patch.value[: len(weights)].normal_()
        keys = {slot: sha256(f"{version}/{slot}".encode()) for slot in range(len(weights))}
        metadata = {"errata.version": str(version), "errata.classes": json.dumps(model.spec.classes)}
        slots = tuple(
            SlotRecord(key, slot, margin=1.0, calibration_firing=0.0, separated=True) for slot, key in keys.items()
        )
        record = EditRecord(success=True, steps=1, reason="", holds={}, slots=slots)
        files = {
            layout.model_file(version): with_weights(graph, model, metadata),
            "edit.json": record.to_json(),
        }
        entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
        none = "0" * 64  # no root, ledger, splits or parameters: these releases were not made from any
        manifest = Manifest(version, "edit", none, none, none, none, len(slots), entries)
        publish(storage, Bundle(manifest, files))
        file = OnnxClassifier(files[layout.model_file(version)], threads=1)
        found = [file.predict(image[None]) for image in images]
        expected[version] = Expected(
            [model.spec.classes[int(each.logits[0].argmax())] for each in found],
            [each.probabilities[0].tolist() for each in found],
            [keys.get(int(each.slot[0])) for each in found],
        )
    for index in range(len(images)):
        distinct = {tuple(each.probabilities[index]) for each in expected.values()}
        if len(distinct) != len(RELEASES):
            raise RuntimeError(f"two releases answer image {index} alike: the check would be blind")
    return expected


def go_live(storage: LocalStorage, version: int) -> None:
    """Swap live.json."""
    manifest = Manifest.from_json(storage.get(layout.release_file(version, layout.MANIFEST)))
    make_live(storage, manifest, read_live(storage), action="released", by="benchmark", why="load")


@contextmanager
def service(store: str) -> Iterator[int]:
    """`python -m errata.serving` on a free port, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "errata.serving", "--store", store, "--port", str(port), "--every", "0.5"]
    command += ["--cache", str(Path(store).parent / "cache")]
    with subprocess.Popen(command) as process:
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until and not healthy(port):
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()
            process.wait(60)


def get(port: int, path: str) -> tuple[int, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def healthy(port: int) -> bool:
    """Whether it serves."""
    try:
        return get(port, "/healthz")[0] == 200
    except OSError:
        return False


def ask(port: int, pngs: list[bytes], expected: dict[int, Expected], until: float, seed: int, seen: Seen) -> None:
    """One client: predict random images on a kept connection until the time is over."""
    random = np.random.default_rng(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < until:
        index = int(random.integers(len(pngs)))
        start = time.perf_counter()
        try:
            connection.request("POST", "/predict", pngs[index])
            response = connection.getresponse()
            status, body = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            with seen.lock:
                seen.failed.append(repr(error))
            continue
        seconds = time.perf_counter() - start
        answer = json.loads(body)
        with seen.lock:
            if status != 200:
                seen.failed.append(f"{status}: {answer}")
                continue
            seen.seconds.append(seconds)
            seen.versions[answer["version"]] += 1
            of = expected[answer["version"]]
            right = (of.classes[index], of.probabilities[index], of.corrections[index])
            if (answer["class"], list(answer["probabilities"].values()), answer["correction"]) != right:
                seen.mixed.append(f"image {index}, version {answer['version']}")
    connection.close()


def main() -> int:
    """Run the load; exit code 1 if the claim fails."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--seconds", type=float, default=30.0)
    given = options.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    pngs = [encode_png(image) for image in images]
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder:
        storage = LocalStorage(Path(folder) / "store")
        expected = make_releases(storage, images)
        go_live(storage, RELEASES[0])
        with service(storage.url) as port:
            start = time.monotonic()
            until = start + given.seconds
            clients = [
                threading.Thread(target=ask, args=(port, pngs, expected, until, seed, seen))
                for seed in range(given.clients)
            ]
            for client in clients:
                client.start()
            for number, version in enumerate(RELEASES[1:], 1):
                time.sleep(max(0.0, start + given.seconds * number / len(RELEASES) - time.monotonic()))
                go_live(storage, version)
            for client in clients:
                client.join()
            took = time.monotonic() - start
            page = get(port, "/metrics")[1].decode()
    counted = {int(v): float(n) for v, n in re.findall(r'errata_predictions_total\{version="(\d+)"\} (\S+)', page)}
    low, middle, high = np.percentile(np.array(seen.seconds) * 1000, [5, 50, 99])
    agrees = counted == dict(seen.versions)
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, ONNX Runtime {onnxruntime.__version__}")
    print(f"{given.clients} clients, {took:.1f} s, {len(RELEASES) - 1} releases swapped in")
    print(f"answers: {len(seen.seconds)} ({len(seen.seconds) / took:.0f}/s)")
    print(f"failed: {len(seen.failed)}; mixed: {len(seen.mixed)}")
    print(f"by version: {dict(sorted(seen.versions.items()))}; the service's own count agrees: {agrees}")
    print(f"latency, 5th / 50th / 99th percentile: {low:.0f} / {middle:.0f} / {high:.0f} ms")
    for line in (seen.failed + seen.mixed)[:5]:
        print(line)
    good = agrees and not seen.failed and not seen.mixed and set(seen.versions) == set(RELEASES)
    print("the claim holds" if good else "THE CLAIM FAILS")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
