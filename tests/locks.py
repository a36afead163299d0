"""The locks: every package that Errata uses, exactly as pinned and with the SHA-256 of each of its files.

python -m tests.locks https://download.pytorch.org/whl/cpu        `make lock` does it: writes them all again

    requirements.lock           all that .venv holds: the night, the service, the tests
    requirements-service.lock   those of it that the inference service needs
    requirements-worker.lock    those of it that a night needs: all but tests and tools
    requirements-cuda.lock      what the CUDA build of torch, which PyPI has, needs besides
    requirements-photos.lock    what `make photos` adds: somebody else's weights, which users choose to install
    requirements-mlflow.lock, requirements-telemetry.lock, requirements-translation.lock,
    requirements-scale.lock    what those extras add

The digests are those of PyPI, for all platforms. torch has other builds under the same version, in indexes of
its own: their digests come from the index that is named, and those that the lock has stay while the version does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
LOCK, SERVICE_LOCK, WORKER_LOCK, CUDA_LOCK = (
    REPOSITORY / f"requirements{name}.lock" for name in ("", "-service", "-worker", "-cuda")
)
CHOSEN = {  # extras that are not set up, each with a lock of its own
    name: REPOSITORY / f"requirements-{name}.lock" for name in ("photos", "mlflow", "telemetry", "translation", "scale")
}
PHOTOS_LOCK = CHOSEN["photos"]
# The same for every Python 3.11 on Linux: what another platform needs besides belongs to that platform's lock.
ENVIRONMENT = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
TORCH = ("torch", "torchvision")
UNSEEN = ["async-timeout==5.0.1"]  # Python 3.11.0 to 3.11.2 asks for it, so a freeze on a later one would lose it

Lock = dict[str, set[str]]  # digests of a pin, `name==version`


def parse(text: str) -> Lock:
    """A lock's pins and their digests."""
    pins = (words.split() for words in text.replace(" \\\n", " ").splitlines())
    return {pin: {digest.removeprefix("--hash=sha256:") for digest in digests} for pin, *digests in pins}


def written(lock: Lock) -> str:
    """The lock as pip reads it: `written(parse(text)) == text`."""
    return "".join(
        " \\\n    ".join([pin, *(f"--hash=sha256:{digest}" for digest in sorted(lock[pin]))]) + "\n"
        for pin in sorted(lock, key=name_of)
    )


def resolved(pins: list[str], *options: str) -> Lock:
    """What uv makes of the pins, with the digests of every file that the index has of each."""
    words = ["uv", "pip", "compile", "-", "--quiet", "--no-config", "--no-header", "--no-annotate", "--generate-hashes"]
    words += ["--python-version", "3.11", *options]
    return parse(subprocess.run(words, input="\n".join(pins), capture_output=True, text=True, check=True).stdout)


def pinned(extra: str) -> list[str]:
    """The pins of an extra, which pyproject.toml has."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [line for line in project["optional-dependencies"][extra] if "==" in line]


def chosen_lock(extra: str) -> Lock:
    """What an extra that pyproject.toml pins needs besides what the lock has."""
    if extra == "photos":  # torch and timm's other needs are there already
        return resolved(pinned(extra), "--no-deps")
    have = {name_of(pin) for pin in parse(LOCK.read_text())}
    whole = resolved(pinned(extra), "--constraints", str(LOCK))
    return {pin: digests for pin, digests in whole.items() if name_of(pin) not in have}


def installed() -> list[str]:
    """The pins of all that this environment holds, but for pip, the project itself and the extras that users choose."""
    words = [sys.executable, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude-editable"]
    frozen = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    chosen = {name_of(pin) for path in CHOSEN.values() for pin in parse(path.read_text())}
    return [re.sub(r"\+(cpu|cu\d+)$", "", pin) for pin in frozen if name_of(pin) not in chosen] + UNSEEN


def name_of(pin: str) -> str:
    """The canonical name of what is pinned."""
    return canonicalize_name(pin.partition("==")[0])


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


def part(lock: Lock, extra: str) -> Lock:
    """What the package with an `extra` needs: a part of requirements.lock."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    names = reached(project["dependencies"] + project["optional-dependencies"][extra])
    return {pin: digests for pin, digests in lock.items() if name_of(pin) in names}


def main(torch_index: str) -> None:
    """Write all locks again, torch's other builds as that index has them."""
    before, pins = parse(LOCK.read_text()), installed()
    lock = resolved(pins, "--no-deps")
    torch = [pin for pin in lock if name_of(pin) in TORCH]
    for pin in torch:
        lock[pin] |= before.get(pin, set())
        try:
            for digests in resolved([pin], "--no-deps", "--default-index", torch_index).values():
                lock[pin] |= digests
        except subprocess.CalledProcessError as fault:
            print(f"{pin}: nothing new of {torch_index} ({fault.stderr.strip().splitlines()[-1]})", file=sys.stderr)
    LOCK.write_text(written(lock))
    SERVICE_LOCK.write_text(written(part(lock, "service")))
    WORKER_LOCK.write_text(written(part(lock, "night")))
    for extra, path in CHOSEN.items():
        path.write_text(written(chosen_lock(extra)))
    whole = resolved(torch, "--python-platform", "x86_64-manylinux_2_28", "--constraints", str(LOCK))
    CUDA_LOCK.write_text(written({pin: digests for pin, digests in whole.items() if pin not in lock}))


if __name__ == "__main__":
    main(sys.argv[1])
