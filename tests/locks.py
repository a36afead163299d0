"""The lock of the inference service: those lines of requirements.lock that its extra reaches.

python -m tests.locks > requirements-service.lock         `make lock` does it
"""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
# The same for every Python 3.11 on Linux: what another platform needs besides belongs to that platform's lock.
ENVIRONMENT = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


def reached(lines: list[str]) -> set[str]:
    """The canonical names of all distributions that these requirements need, as installed here."""
    found: set[tuple[str, str]] = set()  # a name and one of the extras wanted of it, "" for none
    waiting = [(line, "") for line in lines]
    while waiting:
        line, extra = waiting.pop()
        need = Requirement(line)
        if need.marker is not None and not need.marker.evaluate({**ENVIRONMENT, "extra": extra}):
            continue
        name = canonicalize_name(need.name)
        for wanted in {"", *need.extras}:
            if (name, wanted) not in found:
                found.add((name, wanted))
                waiting += [(each, wanted) for each in distribution(name).requires or ()]
    return {name for name, _ in found}


def service_lock() -> str:
    """The service's lock, a part of requirements.lock."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = reached(project["dependencies"] + project["optional-dependencies"]["service"])
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if canonicalize_name(line.split("==")[0]) in names)


if __name__ == "__main__":
    print(service_lock(), end="")
