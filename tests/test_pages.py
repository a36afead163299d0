"""What the documentation says is done, exactly as it says, as a newcomer would: from a clone, by the page alone."""

from pathlib import Path

import pytest

from data.manifest import read_live
from data.storage.local import LocalStorage
from tests.pages import REPOSITORY, follow, scratch_clone


@pytest.mark.slow
def test_your_model(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "errata")
    said = follow(REPOSITORY / "docs" / "your-model.md", clone)
    live = read_live(LocalStorage(clone / "store"))
    assert live is not None
    assert live[0].version == 2, said[-3000:]
    assert (clone / "corrected.html").stat().st_size > 10_000
