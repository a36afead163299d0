"""A small release, claims that wait beside it, and the review page over both."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from errata.data.belief.trust import TrustSettings
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting
from errata.data.images import encode_png, pixel_digest
from errata.data.reports import Report, file_report
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.cli.app import app
from errata.flows.cli.review.service import create_app
from errata.flows.cli.review.sign_in import COOKIE, SignIn
from tests.serving.releases import IMAGES, exported, release

TRUST = TrustSettings(trusted=("Ann Lee",))
CLASSES = tuple(f"class {number}" for number in range(4))
BROWSER = {"Accept": "text/html"}


def predicted(image: int) -> str:
    """What the release says of image `image`, by its file alone."""
    return CLASSES[int(OnnxClassifier(exported(), threads=1).predict(IMAGES[image][None]).logits[0].argmax())]


CLAIMED, OTHER = [name for name in CLASSES if name != predicted(9)][:2]  # of image 9

Typed = Callable[..., Result]  # words of the command line
TypeErrata = Callable[[str], Typed]


@dataclass
class Desk:
    """The page as people meet it: `as_(name)` is a client who signed in."""

    storage: Storage
    sign_in: SignIn = field(default_factory=lambda: SignIn(b"a secret"))
    trust: TrustSettings = TRUST

    def as_(self, name: str | None, **more: Any) -> TestClient:
        app = create_app(self.storage, self.trust, 8, self.sign_in)
        client = TestClient(app, raise_server_exceptions=False, follow_redirects=False, **more)
        if name is not None:
            client.cookies.set(COOKIE, self.sign_in.issue(name))
        return client

    def claim(self, image: int, expected: str, *reporters: str, doubt: float | None = None, note: str = "") -> Report:
        """File it as several people; with a doubt it is one that a night left waiting. The first report."""
        content = encode_png(IMAGES[image])
        filed = [
            file_report(self.storage, content, expected, reporter=each, note=note) for each in reporters or ("bob",)
        ]
        if doubt is not None:
            names = tuple(each.id for each in filed)
            side = Waiting(pixel_digest(IMAGES[image]), expected, doubt, names, "3 reporters", 2)
            keep_waiting(self.storage, WaitingClaims("2026-01-02T02:00:00+00:00", "a run", (side,)))
        return filed[0]


def form_token(page: Any) -> str:
    """What the page's forms carry."""
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found, page.text
    return unescape(found.group(1))


def decide(client: TestClient, report: Report, action: str, **more: str) -> Any:
    """Send a card's form, as the script does."""
    fields = {"image": report.image, "expected": report.expected, "reports": report.id, "action": action, **more}
    return client.post("/decide", data={"form_token": form_token(client.get("/")), **fields})


@pytest.fixture
def desk(storage: LocalStorage) -> Iterator[Desk]:
    release(storage, 1)
    yield Desk(storage)


@pytest.fixture
def storage(tmp_path: Any) -> LocalStorage:
    return LocalStorage(tmp_path / "store")


@pytest.fixture
def type_errata(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TypeErrata:
    """Types `errata` and a group of its commands, in a folder with params.yaml, about the desk's store."""
    (tmp_path / "params.yaml").write_text("trust: {trusted: [ann lee]}\n")
    monkeypatch.chdir(tmp_path)
    return lambda group: lambda *words: CliRunner().invoke(app, [group, *words, "--store", desk.storage.url])
