"""Which code and which libraries make a release: recorded in its manifest, for whoever makes it again."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from errata.data.releases.manifest import sha256

PACKAGES = ("data", "editing", "flows")
SOURCES = {".py", ".j2", ".css"}
COMPUTING = ("torch", "numpy", "scipy", "scikit-learn", "onnx", "onnxscript", "onnxruntime", "pillow", "jinja2")


def code_digest(root: Path | None = None) -> str:
    """SHA-256 over the names and digests of the sources that make a release; `root` holds the packages."""
    root = root or Path(__file__).parents[3]
    sources = sorted(path for package in PACKAGES for path in (root / package).rglob("*") if path.suffix in SOURCES)
    lines = (f"{path.relative_to(root).as_posix()}\0{sha256(path.read_bytes())}\n" for path in sources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def libraries() -> dict[str, str]:
    """The versions of what computes a release."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in COMPUTING:
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
