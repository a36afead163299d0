"""docs/store.md is true: its programs, which use nothing of ours, read and write what Errata writes and reads."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import encode_png
from errata.data.reports import parse_report
from errata.data.storage.local import LocalStorage
from errata.data.storage.s3 import S3Storage
from tests.servers.faulty_s3 import BUCKET, FaultyS3
from tests.serving.releases import release

PAGE = Path(__file__).parents[2] / "docs" / "store.md"


def test_its_programs_do_what_it_says(mock_s3: FaultyS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    local, remote = LocalStorage(tmp_path / "store"), S3Storage(BUCKET, "store")
    made = release(local, 3)
    photo = encode_png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    (tmp_path / "photo.png").write_bytes(photo)
    names: dict[str, Any] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in (*examples, *examples[1:]):  # filing again is harmless
        exec(compile(example.replace('"errata", f"store/', f'"{BUCKET}", f"store/'), str(PAGE), "exec"), names)
    assert (names["version"], names["model"]) == (3, made.files[layout.model_file(3)])
    for storage in (local, remote):
        (key,) = storage.keys(layout.INBOX)
        filed = parse_report(storage.get(key))
        assert key == layout.inbox_report(filed.id)
        assert (filed.predicted, filed.expected, filed.model_version) == ("1", "7", 3)
        assert storage.get(layout.image(filed.image), sha256=filed.image) == photo


def test_a_changed_byte_is_noticed_by_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = LocalStorage(tmp_path / "store")
    release(storage, 3)
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    for name in (layout.model_file(3), layout.MANIFEST):
        path = tmp_path / "store" / layout.release_file(3, name)
        kept = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(ValueError, match="is not the one that"):
            exec(example, {})
        path.write_bytes(kept)


def test_every_place_of_the_store_is_in_its_table() -> None:
    places = [value for value in vars(layout).values() if isinstance(value, str) and value.endswith("/")]
    assert len(places) >= 8
    text = PAGE.read_text()
    for place in (*places, layout.LIVE, layout.DELTA, *layout.BESIDE):
        assert f"`{place}" in text, place
