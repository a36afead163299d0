"""Where things are: the folder in which DVC works, what lies where in it, and the store, by environment.

What shapes a release is in params.yaml; what differs between machines is in the environment.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
import zc.lockfile

from errata.data.releases.manifest import sha256
from errata.data.storage import open_storage
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NightError, StoreUnusable

if TYPE_CHECKING:
    from errata.flows.params import Params

Log = Callable[[str], None]
STORE = "ERRATA_STORE"  # a folder or s3://bucket/prefix; by default `store` in the workspace
WORKSPACE = "ERRATA_WORKSPACE"  # the folder with dvc.yaml and params.yaml; by default the current one
CODE = Path(__file__).parents[1]  # where the packages lie

# DVC's advice to somebody who works by hand; in a night's log it is noise
ADVICE = ("To track the changes", "git add", "To enable auto staging", "dvc config core.autostage", "Use `dvc push`")


def tree_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of every file in `folder`; raises DataError if there is none."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".gitignore")
    if not files:
        raise DataError(f"{folder} is missing or empty; run `errata train` (or `dvc repro`) first")
    lines = (f"{path.relative_to(folder).as_posix()}\0{sha256(path.read_bytes())}\n" for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Workspace:
    """A folder with dvc.yaml and params.yaml in it."""

    folder: Path

    @property
    def splits(self) -> Path:
        return self.folder / "artifacts" / "splits"

    @property
    def root(self) -> Path:
        return self.folder / "artifacts" / "root"

    @property
    def replay(self) -> Path:
        return self.folder / "artifacts" / "replay"

    @property
    def ledger(self) -> Path:
        return self.folder / "artifacts" / "ledger"

    @property
    def labelled(self) -> Path:
        return self.ledger / "labelled"

    @property
    def candidate(self) -> Path:
        return self.folder / "artifacts" / "candidate"

    @property
    def onnx(self) -> Path:
        return self.folder / "artifacts" / "onnx"

    @property
    def features(self) -> Path:
        """A cache of this machine's, which may be deleted at any time."""
        return self.folder / "artifacts" / "features"

    @property
    def gate(self) -> Path:
        return self.folder / "metrics" / "gate.json"

    @property
    def evaluation(self) -> Path:
        return self.folder / "metrics" / "evaluation.json"

    @property
    def gates(self) -> Path:
        return self.folder / "gates"

    @property
    def expectations(self) -> Path:
        return self.folder / "expectations"

    @property
    def data_docs(self) -> Path:
        return self.folder / "data_docs"

    @cached_property
    def params_file(self) -> bytes:
        """params.yaml as it was when it was first asked for: it is read once."""
        path = self.folder / "params.yaml"
        try:
            return path.read_bytes()
        except OSError as fault:
            raise DataError(f"{path}: {fault.strerror}; run in the folder with params.yaml and dvc.yaml") from fault

    @cached_property
    def params(self) -> Params:
        """What that file says, checked; raises DataError naming every fault in it."""
        from errata.flows.params import parse_params  # noqa: PLC0415 - brings numpy: who only looks at a store waits for none

        return parse_params(self.params_file, str(self.folder / "params.yaml"))

    def read(self, path: Path) -> bytes:
        """What a stage wrote; raises DataError if it is missing."""
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; run `dvc repro`") from error

    @property
    def lock_is_whole(self) -> bool:
        """Whether dvc.lock can be read. DVC writes it in place, so a run that was killed may leave half of it."""
        try:
            lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        except (OSError, ValueError, yaml.YAMLError):
            return False
        return isinstance(lock, dict) and isinstance(lock.get("stages"), dict)

    @property
    def _names_bare_stages(self) -> bool:
        """Whether dvc.yaml says `flows.stages`, as the repository's does: those are found where this code lies.

        A project of its own says `errata.flows.stages`; there our folders would hide packages of the same name.
        """
        pipeline = self.folder / "dvc.yaml"
        return pipeline.exists() and b"-m flows.stages" in pipeline.read_bytes()

    def use_remote(self, store_url: str) -> None:
        """Let DVC's remote lie in the store, beside the releases: `<store>/dvc`. Kept in .dvc/config.local."""
        path = self.folder / ".dvc" / "config.local"
        config = ConfigParser()
        config.read(path)
        section = "'remote \"store\"'"
        url = f"{store_url}/dvc"
        if config.has_section(section) and config.get(section, "url", fallback=None) == url:
            return
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, "url", url)
        path.parent.mkdir(exist_ok=True)
        whole = path.with_name("config.local.new")  # a crash here must not lose what else somebody has set
        with whole.open("w") as out:
            config.write(out)
        whole.replace(path)

    def push(self, store_url: str, log: Log) -> None:
        """Put what DVC's stages made into the store, beside the releases.

        Raises StoreUnusable if a folder there is a symbolic link, which DVC would follow to anywhere on this machine.
        """
        self.use_remote(store_url)
        remote = Path(store_url) / "dvc"  # of an S3 URL no such folder is here
        for folder in (remote, remote / "files", remote / "files" / "md5", *remote.glob("files/md5/*")):
            if folder.is_symlink():
                raise StoreUnusable(f"{folder} is a symbolic link; remove the link, the store follows none")
        self.dvc("push", "--quiet", log=log)

    def _put_away_damaged_rwlock(self, log: Log) -> None:
        """DVC writes the file in place and refuses every command once it is not JSON; the dead it finds itself."""
        path = self.folder / ".dvc" / "tmp" / "rwlock"
        if not path.exists() or _is_object(path):
            return
        try:
            guard = zc.lockfile.LockFile(str(path.with_name("rwlock.lock")))  # as DVC does while it writes the file
        except zc.lockfile.LockError:  # it is being written right now
            return
        try:
            if path.exists() and not _is_object(path):
                log("DVC's rwlock was damaged, by a run that died say; it is now rwlock.damaged")
                path.replace(path.with_name("rwlock.damaged"))
        finally:
            guard.close()

    def dvc(self, *words: str, log: Log, env: Mapping[str, str] | None = None) -> None:
        """Run DVC here, each line of its output to `log` as it comes; raises NightError with its last words.

        A dvc.lock that cannot be read is put away first: DVC makes another one, and finds what it made before. So is
        DVC's list of who reads and writes what, which a kill may leave empty.
        """
        self._put_away_damaged_rwlock(log)
        if (lock := self.folder / "dvc.lock").exists() and not self.lock_is_whole:
            log("dvc.lock was damaged, by a run that died say; it is now dvc.lock.damaged")
            lock.replace(lock.with_name("dvc.lock.damaged"))
        environment = {**os.environ, **(env or {})}
        # the stages' `python` is the one that runs this, with this code, also where no environment is activated
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
        if self._names_bare_stages:
            environment["PYTHONPATH"] = f"{CODE}{os.pathsep}{environment.get('PYTHONPATH', '')}"
        command = [sys.executable, "-m", "dvc", *words]
        tail: list[str] = []
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            close_fds=False,  # it inherits the workspace's lock, and nothing else is inheritable
        ) as process:
            if process.stdout is None:  # pragma: no cover - PIPE was asked for
                raise NightError("dvc has no output stream")
            for line in process.stdout:
                if (said := line.strip()) and not said.startswith(ADVICE):
                    log(said)
                    tail = [*tail[-19:], said]
        if process.returncode:
            last = next((line for line in tail if line.startswith("Error:")), None) or (tail[-1] if tail else "nothing")
            raise NightError(f"`{' '.join(command[2:])}` failed: {last.removeprefix('Error: ')}")


def _is_object(path: Path) -> bool:
    """Whether a file holds a JSON object."""
    try:
        return isinstance(json.loads(path.read_text()), dict)
    except (OSError, ValueError):
        return False


def open_workspace(folder: str | Path | None = None) -> Workspace:
    """The workspace at `folder`, else where ERRATA_WORKSPACE says, else here."""
    return Workspace(Path(folder or os.environ.get(WORKSPACE) or Path.cwd()).resolve())


def store_url(url: str | None = None) -> str:
    """The store's URL: `url`, else what ERRATA_STORE says, else `store` in the workspace; folders are made absolute."""
    text = url or os.environ.get(STORE) or str(open_workspace().folder / "store")
    return text if "://" in text else str(Path(text).resolve())


def open_store(url: str | None = None, *, create: bool = False) -> Storage:
    """The store, opened; nothing is written, and S3 is not asked yet.

    Raises StoreUnusable if it is a folder that does not exist, unless `create` lets the first release make it: what is
    mistyped must not look like a store in which nothing happened.
    """
    place = store_url(url)
    if not create and "://" not in place and not Path(place).is_dir():
        raise no_store(place)
    return open_storage(place)


def no_store(place: str) -> StoreUnusable:
    """The refusal of a place where no store is."""
    return StoreUnusable(
        f"there is no store at {place}; correct --store or {STORE}, or make one there with `errata train`"
    )


def operator(user_name: Callable[[], str] = getpass.getuser) -> str:
    """Who is acting, for the log."""
    try:
        return user_name()
    except (OSError, KeyError, ImportError):  # a container's user without a name, or no list of users
        return "errata"
