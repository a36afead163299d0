"""What tests of faults share: a place in which reports wait, ways for a night to die, and what must hold afterwards."""

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from errata.data import layout
from errata.data.releases.manifest import read_live, verify_bundle
from errata.data.storage.base import Storage, Versioned
from errata.data.storage.s3 import S3Storage
from errata.editing.errors import ErrataError, StoreUnusable
from errata.flows.night.run import run_night
from errata.flows.night.step import Arguments, Result, RunStep, Step, run_here
from errata.flows.releases.pointer import log_entries
from tests.flows.conftest import Place, Undisturbed

STEPS = (
    "sync", "collect", "quarantine", "keep observations", "write ledger", "dvc repro", "count look", "evaluate", "gate",
    "release", "settle",
)  # fmt: skip
CHANGES = ("put", "swap", "delete")


def retried(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Runs a step as Prefect does, without the waiting: again while the store is away."""
    for _ in step.waits:
        try:
            return step(*args, **kwargs)
        except StoreUnusable:
            continue
    return step(*args, **kwargs)


def before(name: str, event: Callable[[], object], every_time: bool = False) -> RunStep:
    """Runs steps of which the one called `name` waits, the first time, until something else has happened."""
    first = iter([True])

    def run_step(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if step.name == name and (every_time or next(first, False)):
            event()
        return step(*args, **kwargs)

    return run_step


def after(name: str, event: Callable[[], object]) -> RunStep:
    """Runs steps; after the one called `name` something happens."""

    def run_step(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        result = step(*args, **kwargs)
        if step.name == name:
            event()
        return result

    return run_step


def die() -> None:
    """End this process at once: no handler, no cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(at_most: int = 100) -> None:
    """From now on the kernel lets no file of this process grow beyond a few bytes, as when nothing is left."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_most, resource.RLIM_INFINITY))


@contextmanager
def full_disk() -> Iterator[None]:
    """Meanwhile the disk is full."""
    handler, limits = signal.getsignal(signal.SIGXFSZ), resource.getrlimit(resource.RLIMIT_FSIZE)
    fill_disk()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def silent(_operation: str, _key: str) -> None:
    """Nothing happens."""


class Watched:
    """A store that calls `before(operation, key)` ahead of each request and `after(operation, key)` behind it."""

    def __init__(
        self,
        inner: Storage,
        before: Callable[[str, str], None] = silent,
        after: Callable[[str, str], None] = silent,
    ) -> None:
        self.inner, self._before, self._after = inner, before, after

    @property
    def url(self) -> str:
        return self.inner.url

    def get(self, key: str, *, sha256: str | None = None, at_most: int | None = None) -> bytes:
        self._before("get", key)
        return self.inner.get(key, sha256=sha256, at_most=at_most)

    def stream(self, key: str, *, at_most: int | None = None) -> Iterator[bytes]:
        self._before("get", key)
        return self.inner.stream(key, at_most=at_most)

    def size(self, key: str) -> int:
        self._before("get", key)
        return self.inner.size(key)

    def put_once(self, key: str, content: bytes) -> None:
        self._before("put", key)
        self.inner.put_once(key, content)
        self._after("put", key)

    def read(self, key: str) -> Versioned:
        self._before("read", key)
        return self.inner.read(key)

    def swap(self, key: str, content: bytes, *, expected: str | None) -> Versioned:
        self._before("swap", key)
        done = self.inner.swap(key, content, expected=expected)
        self._after("swap", key)
        return done

    def keys(self, prefix: str) -> Iterator[str]:
        self._before("keys", prefix)
        return self.inner.keys(prefix)

    def delete(self, key: str) -> None:
        self._before("delete", key)
        self.inner.delete(key)
        self._after("delete", key)

    def flush(self) -> None:
        self._before("flush", "")
        self.inner.flush()

    def probe(self) -> None:
        self._before("probe", "")
        self.inner.probe()


def started(work: Callable[[], object], says: Callable[[str], object] = len) -> int:
    """Run in a child process, which tells its outcome to `says`; its process number."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            says(str(work()))
            code = 0
        except (ErrataError, OSError) as fault:
            says(f"{type(fault).__name__}: {fault}")
            code = 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """0; 1 if it raised what the command line makes a sentence of; 2 on another fault; minus a signal's number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def at_once(works: Sequence[Callable[[], object]], folder: Path, storage: Storage) -> list[str]:
    """What each says, all running at the same time as processes of their own."""
    hang_up(storage)
    says = [folder / f"outcome-{time.monotonic_ns()}-{number}" for number in range(len(works))]
    children = [started(work, path.write_text) for work, path in zip(works, says, strict=True)]
    assert {exit_code(child) for child in children} <= {0, 1}
    return [path.read_text() for path in says]


def killed(place: Place, run_step: RunStep = run_here, storage: Storage | None = None) -> None:
    """A night that must end by SIGKILL."""
    run = replace(place.night(), storage=storage or place.storage)
    hang_up(place.storage)
    child = started(lambda: run_night(run, run_step), sys.stderr.write)  # what it says is shown if it is not killed
    code = exit_code(child)
    assert code == -signal.SIGKILL, f"the night ended with {code}"


def hang_up(storage: Storage) -> None:
    """Close what is open to an S3 server: a child must not speak on its parent's connections."""
    if isinstance(storage, S3Storage):
        storage._client.close()


def waiting(place: Place) -> list[str]:
    """What is in the inbox."""
    return [layout.stem(key) for key in place.storage.keys(layout.INBOX)]


def settled(place: Place) -> list[str]:
    """Every report that a release consumed, in each place where it lies."""
    return sorted(layout.stem(key) for key in place.storage.keys(layout.SETTLED))


def live_version(place: Place) -> int:
    """What is live, after a look at each of its files."""
    found = read_live(place.storage)
    assert found is not None
    assert verify_bundle(place.storage, found[0].version, found[0].manifest_sha256) == ()
    return found[0].version


def converges(place: Place, expected: Undisturbed, version: int = 2, reports: tuple[str, ...] = ()) -> None:
    """Rerun twice: one release, each report consumed once, one line of the log for each change, nothing left over."""
    reports = reports or expected.reports
    assert live_version(place) in (1, version)
    assert set(waiting(place)) | set(settled(place)) == set(reports)  # none was lost
    run_night(place.night())
    again = run_night(place.night())
    assert (again.outcome, again.version, again.reports) == ("nothing to correct", version, 0)
    assert live_version(place) == version
    assert waiting(place) == []
    assert settled(place) == sorted(reports)
    assert list(place.storage.keys(layout.DEFERRED)) == []
    assert [(each.serial, each.version) for each in log_entries(place.storage)] == [(1, 1), (2, version)]
    if version == 2:
        assert place.digest == expected.digest
