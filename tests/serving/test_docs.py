"""The Python of docs/serving.md does what the page says: run from top to bottom, beside a store."""

import re
from pathlib import Path
from typing import Any

import pytest

from data import layout
from data.storage.local import LocalStorage
from editing.delta import make_delta
from tests.serving.releases import Correction, bundle, release

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def test_every_example_runs(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage.url == str(tmp_path / "store")
    root = bundle(1).files[layout.model_file(1)]
    shipped = release(storage, 2, (Correction(3, 1, 2),)).files[layout.model_file(2)]
    (tmp_path / "model.onnx").write_bytes(shipped)
    names: dict[str, Any] = {"root": root, "patch": make_delta(root, shipped)}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert re.search(r"class \d -1\n", said)
    assert re.search(r"class \d 2 None\n", said)
    assert "State(version=2" in said
    images = names["images"]
    assert (
        names["classifier"].predict(images).logits.tolist()
        == names["session"].run(["logits"], {"images": images})[0].tolist()
    )
