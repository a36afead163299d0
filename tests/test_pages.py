"""What the documentation says is done, exactly as it says, as a newcomer would: from a clone, by the page alone."""

import json
import re
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.datasets import load_dataset
from errata.data.releases.manifest import read_live
from errata.data.reports import report_schema
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.cli.app import app
from tests.installed import build_wheel, environment_of, fresh_environment
from tests.pages import REPOSITORY, follow, scratch_clone
from tests.photos import write_photos


@pytest.mark.slow
def test_your_model(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "errata")
    said = follow(REPOSITORY / "docs" / "your-model.md", clone)
    live = read_live(LocalStorage(clone / "store"))
    assert live is not None
    assert live[0].version == 2, said[-3000:]
    assert (clone / "corrected.html").stat().st_size > 10_000


@pytest.mark.slow
def test_imagenet(tmp_path: Path) -> None:
    """With photos of four classes in photos/ and new/, which the page takes for granted."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    clone = scratch_clone(tmp_path / "errata")
    write_photos(clone / "photos", 110, seed=0)
    write_photos(clone / "new", 6, seed=1, hard=True)
    said = follow(REPOSITORY / "docs" / "imagenet.md", clone)
    storage = LocalStorage(clone / "store")
    live = read_live(storage)
    assert live is not None
    assert live[0].version == 2, said[-3000:]
    before, after = (OnnxClassifier(storage.get(layout.release_file(version, layout.model_file(version))))
                     for version in (1, 2))  # fmt: skip
    images = load_dataset("folder", clone / "new", image_shape=(224, 224, 3))
    right = [(one.predict(images.images).logits.argmax(1) == images.labels).sum() for one in (before, after)]
    assert right[0] < right[1], said[-3000:]


@pytest.mark.slow
def test_getting_started(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "errata")
    said = follow(REPOSITORY / "docs" / "getting-started.md", clone)
    storage = LocalStorage(clone / "store")
    log = [json.loads(storage.get(key)) for key in storage.keys(layout.LOG)]
    assert [(each["version"], each["action"]) for each in log] == [
        (1, "released"),
        (2, "released"),
        (1, "rolled back"),
    ], said[-3000:]


@pytest.mark.slow
def test_own_project(tmp_path: Path) -> None:
    """In an empty folder and a fresh environment, which gets Errata by the page's own first command."""
    index = build_wheel(tmp_path / "built").parent
    environment = environment_of(fresh_environment(tmp_path / "environment"))
    project = tmp_path / "project"
    project.mkdir()
    said = follow(
        REPOSITORY / "docs" / "own-project.md",
        project,
        {**environment, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    live = read_live(LocalStorage(project / "store"))
    assert live is not None
    assert live[0].version == 1, said[-3000:]
    assert (project / "release.html").stat().st_size > 10_000


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    """With a picture of a 7 that the model gets wrong as photo.png, which the page takes for granted."""
    clone = scratch_clone(tmp_path / "errata")
    (clone / "take_photo.py").write_text(TAKE_PHOTO)
    page = tmp_path / "README.md"
    before, after = (REPOSITORY / "README.md").read_text().split("errata report photo.png", 1)
    page.write_text(f"{before}python take_photo.py\nerrata report photo.png{after}")
    said = follow(page, clone)
    live = read_live(LocalStorage(clone / "store"))
    assert live is not None
    assert live[0].version == 2, said[-3000:]


# A 7 of the day's traffic, made fainter until the live model takes it for something else.
TAKE_PHOTO = """
from pathlib import Path
import numpy as np
from errata.data.images import encode_png
from errata.data.splits import load_split
from errata.flows.night.state import open_night
from errata.flows.workspace import open_store, open_workspace, operator, store_url, STORE, WORKSPACE
from errata.flows.cli.demo import live_classifier

_, classifier = live_classifier(open_store())
day = load_split(Path("artifacts/splits"), "traffic")
sevens = day.images[day.labels == day.classes.index("7")]
fainter = [np.round(sevens * share).astype(np.uint8) for share in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)]
images = np.concatenate(fainter)
said = classifier.predict(images).logits.argmax(1)
first = int((said != day.classes.index("7")).nonzero()[0][0])
Path("photo.png").write_bytes(encode_png(images[first]))
"""


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    followed = {"README.md", "getting-started.md", "imagenet.md", "own-project.md", "your-model.md"}  # the tests above
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        fences = re.findall(r"^```(.*)\n(?:.*\n)*?```\n+(?=(.*))", page.read_text(), re.MULTILINE)
        for language, after in fences:
            where = f"{page.name}: the block before {after!r}"
            assert language, f"{where} says not what it is"
            if language == "console":
                named = re.match(r"\*(Not run by a test: .+|Run by `(.+)::(\w+)`.*)\*$", after)
                assert named, f"{where}: say which test runs it, or why none does"
                if named[2]:
                    assert f"def {named[3]}(" in (REPOSITORY / named[2]).read_text(), where
            elif language == "sh":
                assert page.name in followed, f"{where} is run by no test"
            else:
                assert language.split()[0] in {"python", "yaml", "json", "text"}, where


def test_the_schema_is_the_type() -> None:
    assert json.loads((REPOSITORY / "docs" / "report.schema.json").read_text()) == report_schema()


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_page_takes_for_granted_that_the_user_has_a_name() -> None:
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")]:
        assert not re.search(r"\$USER|\$\{USER\}", page.read_text()), f"{page.name}: a container may not set it"


def test_every_command_shown_exists() -> None:
    """Each `errata COMMAND` in any page is a command of errata's."""
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {str(group.name) for group in app.registered_groups}
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for name in re.findall(r"(?:^|`)errata ([a-z]+)\b(?!\.json)", page.read_text(), re.MULTILINE):
            assert name in known, f"{page.name}: errata {name}"
