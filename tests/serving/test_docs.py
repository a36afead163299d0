"""The Python and the commands of docs/serving.md do what the page says: run from top to bottom, beside a store."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from errata.data import layout
from errata.data.images import encode_png
from errata.data.storage.local import LocalStorage
from errata.editing.onnx.delta import make_delta
from tests.pages import REPOSITORY
from tests.serving.releases import IMAGES, Correction, bundle, release
from tests.serving.test_main import wait_for_version

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def commands() -> list[str]:
    """The command lines of the page's `console` blocks that say that they are run here, from top to bottom."""
    blocks = re.findall(r"```console\n([^`]*)```\n\n\*Run by `tests/serving/test_docs", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_every_command_runs(storage: LocalStorage, tmp_path: Path) -> None:
    """As they stand but for the port, the token and the class, which the page cannot know."""
    root = bundle(1).files[layout.model_file(1)]
    shipped = release(storage, 2, (Correction(3, 1, 2),)).files[layout.model_file(2)]
    (tmp_path / "root.onnx").write_bytes(root)
    (tmp_path / "patch.safetensors").write_bytes(make_delta(root, shipped))
    (tmp_path / "seven.png").write_bytes(encode_png(IMAGES[3]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    serve, predict, form, report, apply = (line.replace("8000", port) for line in commands())
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(REPOSITORY)}

    def run(line: str) -> str:
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert serve.startswith("python -m errata.serving ")
    with subprocess.Popen([sys.executable, *serve.split()[1:]], cwd=tmp_path, env=environment) as process:
        try:
            wait_for_version(f"http://127.0.0.1:{port}", 2, process)
            answer = json.loads(run(predict))
            assert (answer["class"], answer["version"]) == ("class 1", 2)
            assert json.loads(run(form))["class"] == "class 1"
            filed = json.loads(run(report.replace("TOKEN", answer["prediction"]).replace("=7&", "=class%202&")))
            assert list(storage.keys(layout.INBOX)) == [layout.inbox_report(filed["report"])]
        finally:
            process.terminate()
    run(apply.replace("errata", f"{sys.executable} -m errata.flows.cli.app", 1))
    assert (tmp_path / "model.onnx").read_bytes() == shipped


def test_every_example_runs(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.url == str(tmp_path / "store")
    shipped = release(storage, 2, (Correction(3, 1, 2),)).files[layout.model_file(2)]
    (tmp_path / "model.onnx").write_bytes(shipped)
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"class \d -1\n", said)
    assert re.search(r"class \d 2 None\n", said)
    assert "State(version=2" in said
