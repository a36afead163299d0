"""The wheel holds the four packages whole, under one name: every file of theirs that git knows, and no other."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.pages import REPOSITORY, scratch_clone

PACKAGES = ("data", "editing", "flows", "serving")


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    clone = scratch_clone(tmp_path / "clone")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*pip, tmp_path / "wheels", clone], check=True)
    (wheel,) = (tmp_path / "wheels").iterdir()
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    tracked = ["git", "-C", str(REPOSITORY), "ls-files", *PACKAGES]
    files = subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split()
    assert held == {f"errata/{name}" for name in ("__init__.py", "py.typed", *files)}
    assert "errata/flows/releases/contents/templates/report.html.j2" in held
    for extra in ("night", "openssf", "service", "studies"):
        assert f"Provides-Extra: {extra}\n" in about
