"""An empty store."""

from pathlib import Path

import pytest

from errata.data.storage.local import LocalStorage


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "store")
