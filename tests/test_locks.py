"""What is installed is what was locked: every package of every lock by the digests of its files."""

import re
from pathlib import Path

import pytest

from tests.locks import (
    CHOSEN,
    CUDA_LOCK,
    LOCK,
    PHOTOS_LOCK,
    REPOSITORY,
    SERVICE_LOCK,
    WORKER_LOCK,
    name_of,
    parse,
    part,
    pinned,
    written,
)

LOCKS = (LOCK, SERVICE_LOCK, WORKER_LOCK, CUDA_LOCK, *CHOSEN.values())
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl, as download.pytorch.org has it: its file, hashed
CPU_BUILD = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_has_digests_and_nothing_else_is_in_the_lock(path: Path) -> None:
    text = path.read_text()
    lock = parse(text)
    assert written(lock) == text
    for pin, digests in lock.items():
        assert re.fullmatch(r"[\w.-]+==[\w.!]+", pin), pin
        assert digests, f"{pin} has no digest: `make lock`"
        assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests), pin


def test_the_services_lock_is_what_its_extra_needs() -> None:
    lock = parse(LOCK.read_text())
    assert SERVICE_LOCK.read_text() == written(part(lock, "service"))
    assert "torch" not in {name_of(pin) for pin in part(lock, "service")}


def test_the_workers_lock_is_what_a_night_needs() -> None:
    night = part(parse(LOCK.read_text()), "night")
    assert WORKER_LOCK.read_text() == written(night)
    names = {name_of(pin) for pin in night}
    assert {"torch", "prefect", "dvc"} <= names
    assert not names & {"pytest", "mypy", "playwright", "uv"}


def test_torch_is_locked_as_a_cpu_build_too() -> None:
    (torch,) = [digests for pin, digests in parse(LOCK.read_text()).items() if name_of(pin) == "torch"]
    assert CPU_BUILD in torch


def test_no_package_has_two_versions() -> None:
    """So that extras can be installed beside each other; what CUDA's build adds is nothing that is there."""
    pins = {pin for path in LOCKS for pin in parse(path.read_text())}
    assert len(pins) == len({name_of(pin) for pin in pins})
    assert not set(parse(LOCK.read_text())) & set(parse(CUDA_LOCK.read_text()))


def test_the_extra_photos_is_locked_and_only_there() -> None:
    """The default install has none of somebody else's weights."""
    assert sorted(parse(PHOTOS_LOCK.read_text())) == sorted(pinned("photos")) != []


@pytest.mark.parametrize("extra", sorted({*CHOSEN} - {"photos"}))
def test_what_users_choose_is_locked_and_changes_nothing_that_is_there(extra: str) -> None:
    lock = set(parse(CHOSEN[extra].read_text()))
    assert set(pinned(extra)) <= lock
    assert not {name_of(pin) for pin in lock} & {name_of(pin) for pin in parse(LOCK.read_text())}


def test_whatever_installs_wants_digests() -> None:
    """In the Makefile and the Dockerfile each line that installs takes a lock with digests, or what was built here."""
    for name in ("Makefile", "Dockerfile"):
        lines = (REPOSITORY / name).read_text().splitlines()
        for line in [each for each in lines if re.search(r"\bpip\b.* install\b|\$\(INSTALL\)", each)]:
            own = "/wheels/*.whl" in line or "-e ." in line or line.startswith("INSTALL :=")
            assert "--require-hashes" in line or own, line


def test_base_images_are_named_by_digest() -> None:
    images = re.findall(r"^(?:FROM|ARG PYTHON=) *(\S+)", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    images += re.findall(r"^ +image: +(\S+)", (REPOSITORY / "compose.yaml").read_text(), re.MULTILINE)
    named = [each for each in images if not each.startswith("$") and each != "base"]
    assert len(named) == 2  # Python, and the S3 server
    for image in named:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image), image
