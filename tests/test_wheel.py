"""The wheel holds the four packages whole, under one name; installed, it works beside somebody's own `data`."""

import json
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.installed import build_wheel, environment_of, fresh_environment
from tests.pages import REPOSITORY

PACKAGES = ("data", "editing", "flows", "serving")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    tracked = ["git", "-C", str(REPOSITORY), "ls-files", *PACKAGES]
    files = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split()
    assert held == {f"errata/{name}" for name in ("__init__.py", "py.typed", *files)}
    assert "errata/flows/releases/contents/templates/report.html.j2" in held
    for extra in ("mlflow", "night", "openssf", "photos", "service", "studies", "telemetry"):
        assert f"Provides-Extra: {extra}\n" in about


# What the user's own packages of our names hold: whoever imports one of them in our place is told.
CLASH = 'raise ImportError("this is the user\'s own package, which Errata has no business in")\n'

NETWORK = """
from errata.editing.networks.architectures import register, resnet

@register("mine")
def mine(classes, image_shape):
    return resnet(classes, image_shape, width=8, blocks=1)
"""

MISTAKE = """
from pathlib import Path
import errata
from errata.data.images import encode_png
from errata.data.splits import load_split
from errata.flows.cli.demo import live_classifier
from errata.flows.workspace import open_store

day = load_split(Path("artifacts/splits"), "traffic")
said = live_classifier(open_store())[1].predict(day.images).logits.argmax(1)
wrong = (said != day.labels).nonzero()[0][0]
Path("photo.png").write_bytes(encode_png(day.images[wrong]))
print(errata.__file__, day.classes[day.labels[wrong]])
"""


@pytest.mark.slow
def test_installed_it_works_beside_packages_of_the_same_names(wheel: Path, tmp_path: Path) -> None:
    """From the wheel alone: a project, a root, a report, a night; then bare `dvc repro` has nothing left to do, solves
    what the ledger says by hand, and the release can be made again to the byte."""
    tools = fresh_environment(tmp_path / "environment")
    subprocess.run([tools / "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    project = tmp_path / "project"
    for name in PACKAGES:
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text(CLASH)
    (project / "my_network.py").write_text(NETWORK)
    (tmp_path / "mistake.py").write_text(MISTAKE)

    def run(*words: str) -> str:
        done = subprocess.run(
            words, cwd=project, env=environment_of(tools), capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    run(
        "errata",
        "init",
        "digits",
        "--network",
        "mine",
        "--plugin",
        "my_network",
        "--trusted",
        "me",
        "--accuracy",
        "0.5",
    )
    params = project / "params.yaml"
    chosen = params.read_text().replace("{method: plain}", "{method: plain, epochs: 12}")
    params.write_text(chosen.replace("accuracy: 0.5", "accuracy: 0.5, reach: 0.9"))
    run("errata", "train")
    where, label = run("python", str(tmp_path / "mistake.py")).split()
    assert where.startswith(str(tmp_path / "environment"))
    run("errata", "report", "photo.png", "--expected", label, "--reporter", "me")
    assert json.loads(run("errata", "correct", "--json"))["outcome"] == "released"
    assert json.loads(run("errata", "status", "--json"))["live"] == 2
    assert json.loads(run("errata", "verify", "--json"))["problems"] == []
    assert "Running stage" not in run("dvc", "repro")
    shipped = (project / "artifacts" / "onnx" / "model.onnx").read_bytes()
    ledger = project / "artifacts" / "ledger" / "ledger.jsonl"
    head, *lines = ledger.read_text().splitlines(keepends=True)
    assert len(lines) == 1
    ledger.write_text(head)
    assert "Running stage 'edit'" in run("dvc", "repro")
    assert (project / "artifacts" / "onnx" / "model.onnx").read_bytes() != shipped
    assert json.loads(run("errata", "reproduce", "2", "--allow-plugin", "my_network", "--json"))["outcome"] == "equal"
