"""The wheel as a user has it: built, and installed into a fresh environment that the repository is no part of."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.pages import scratch_clone

TOOLS = ("dvc", "prefect")  # commands of others that a user types


def build_wheel(folder: Path) -> Path:
    """The wheel of the repository as it is now, in `folder`."""
    clone = scratch_clone(folder / "clone")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*pip, folder / "wheels", clone], check=True)
    (wheel,) = (folder / "wheels").iterdir()
    return wheel


def fresh_environment(folder: Path) -> Path:
    """An environment without Errata and with all that it needs: links to what is installed here. Its folder `bin`."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    there = {path.name for path in packages.iterdir()}
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name not in there and "errata" not in path.name:
            (packages / path.name).symlink_to(path)
    for name in TOOLS:
        script = (Path(sys.executable).parent / name).read_text().splitlines(keepends=True)
        (folder / "bin" / name).write_text("".join([f"#!{folder}/bin/python\n", *script[1:]]))
        (folder / "bin" / name).chmod(0o755)
    return folder / "bin"


def environment_of(tools: Path) -> dict[str, str]:
    """The variables of somebody who activated that environment: nothing leads to the repository."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {**kept, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
