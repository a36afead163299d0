"""One object that cannot be read is that object's trouble; a store that answers for none is the store's."""

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from errata.data.storage import LocalStorage, Storage
from errata.data.storage.s3 import S3Storage
from errata.editing.errors import AlreadyStored, NotStored, StoreUnusable, TooLarge, Unreadable
from tests.servers.faulty_s3 import Fault, FaultyS3

NOBODY = 65534
Ask = Callable[[Storage], object]
READS: list[Ask] = [
    lambda store: store.get("a/odd"),
    lambda store: store.read("a/odd"),
    lambda store: next(store.stream("a/odd")),
    lambda store: store.put_once("a/odd", b"other"),
]


@pytest.fixture
def folder(tmp_path: Path) -> LocalStorage:
    storage = LocalStorage(tmp_path / "store")
    storage.put_once("a/good", b"good")
    return storage


@contextmanager
def a_pipe(path: Path) -> Iterator[None]:
    """With a writer, so that to read it is to wait."""
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    yield
    os.close(writer)


@contextmanager
def a_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the name of a socket may have 108 bytes
        listener.bind(path.name)
        os.chdir(here)
        yield


@pytest.mark.parametrize("thing", [a_pipe, a_socket])
@pytest.mark.parametrize("ask", READS)
def test_what_is_no_file(folder: LocalStorage, thing: Callable[[Path], object], ask: Ask) -> None:
    with thing(Path(folder.url) / "a/odd"), pytest.raises(Unreadable, match="a/odd"):  # type: ignore[attr-defined]
        ask(folder)
    assert list(folder.keys("a/")) == ["a/good", "a/odd"]
    assert folder.get("a/good") == b"good"


def test_a_folder_is_no_object(folder: LocalStorage) -> None:
    (Path(folder.url) / "a/odd").mkdir()
    with pytest.raises(NotStored):
        folder.get("a/odd")


def test_a_folder_in_an_objects_place_is_nothing_to_delete(folder: LocalStorage) -> None:
    """It came there after the listing: whoever deletes a thousand objects goes on."""
    (Path(folder.url) / "a/odd").mkdir()
    folder.delete("a/odd")
    assert (Path(folder.url) / "a/odd").is_dir()


@pytest.mark.parametrize(
    "ask",
    [
        lambda store, most: store.get("a/odd", at_most=most),
        lambda store, most: b"".join(store.stream("a/odd", at_most=most)),
    ],
)
def test_a_file_that_grows_while_it_is_read_has_the_limit_still(
    folder: LocalStorage, ask: Callable[[LocalStorage, int], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody appends after its size was looked at, and could go on for ever."""
    folder.put_once("a/odd", b"x" * 100_000)
    really = os.fstat

    def then_it_grows(handle: int) -> os.stat_result:
        found = really(handle)
        with (Path(folder.url) / "a/odd").open("ab") as file:
            file.write(b"x")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", then_it_grows)
        with pytest.raises(TooLarge, match="grows"):
            ask(folder, 100_000)
    assert ask(folder, 100_001) == b"x" * 100_001


def failing(code: int, name: str) -> Callable[..., int]:
    """os.open, on which files whose path ends in `name` fail with this code."""
    really = os.open

    def fails(path: str | Path, *arguments: int, **more: int) -> int:
        if str(path).endswith(name):
            raise OSError(code, os.strerror(code), str(path))
        return really(path, *arguments, **more)

    return fails


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO, errno.ENXIO, errno.EBADMSG])
@pytest.mark.parametrize("ask", READS)
def test_what_the_system_says_of_one_file(
    folder: LocalStorage, code: int, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put_once("a/odd", b"odd")
    monkeypatch.setattr(os, "open", failing(code, "a/odd"))
    with pytest.raises(Unreadable, match=r"a/odd: .*may read"):
        ask(folder)
    assert folder.get("a/good") == b"good"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ETIMEDOUT, errno.ENOMEM])
@pytest.mark.parametrize("ask", READS)
def test_what_the_system_says_of_the_disk(
    folder: LocalStorage, code: int, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.put_once("a/odd", b"odd")
    monkeypatch.setattr(os, "open", failing(code, "a/odd"))
    with pytest.raises(StoreUnusable):
        ask(folder)


def as_nobody(act: Callable[[], object]) -> str:
    """What `act` returns or raises in a process without root's rights, in words."""
    if os.getuid() != 0:
        return said(act)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(writer, said(act).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return answer.read()


def said(act: Callable[[], object]) -> str:
    try:
        return repr(act())
    except Exception as error:
        return type(error).__name__


@pytest.fixture
def open_folder() -> Iterator[LocalStorage]:
    """A store in a folder that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        storage = LocalStorage(Path(path) / "store")
        for key in ("a/good", "a/odd", "a/locked/x", "closed/x"):
            storage.put_once(key, b"here")
        inside = Path(storage.url)
        (inside / "a/odd").chmod(0)
        (inside / "a/locked").chmod(0)
        (inside / "closed").chmod(0)
        yield storage
        (inside / "a/locked").chmod(0o755)
        (inside / "closed").chmod(0o755)


def test_files_and_folders_of_somebody_else(open_folder: LocalStorage) -> None:
    """A folder inside that cannot be listed is an object that cannot be read; the one that was asked for is fatal."""
    assert as_nobody(lambda: open_folder.get("a/good")) == "b'here'"
    assert as_nobody(lambda: open_folder.get("a/odd")) == "Unreadable"
    assert as_nobody(lambda: list(open_folder.keys("a/"))) == "['a/good', 'a/locked', 'a/odd']"
    assert as_nobody(lambda: open_folder.get("a/locked")) == "Unreadable"
    assert as_nobody(lambda: open_folder.get("closed/x")) == "StoreUnusable"
    assert as_nobody(lambda: list(open_folder.keys("closed/"))) == "StoreUnusable"


@pytest.fixture
def s3(mock_s3: FaultyS3, new_bucket: S3Storage) -> S3Storage:
    new_bucket.put_once("a/good", b"good")
    new_bucket.put_once("a/odd", b"odd")
    return new_bucket


@pytest.fixture
def new_bucket(mock_s3_client: object, tmp_path: Path) -> S3Storage:
    return S3Storage("mock", tmp_path.name, mock_s3_client)


def may_not_see(fault: Fault, ask: Ask) -> AbstractContextManager[object] | None:
    """Who may write but not read learns that the name is taken, and no more: so a picture can be reported twice."""
    writes = fault is Fault.FORBIDDEN and ask is READS[-1]
    return pytest.raises(AlreadyStored, match="may not see") if writes else None


@pytest.mark.parametrize("fault", [Fault.ARCHIVED, Fault.FOREIGN_KEY, Fault.FORBIDDEN])
@pytest.mark.parametrize("ask", READS)
def test_what_s3_says_of_one_object(s3: S3Storage, mock_s3: FaultyS3, fault: Fault, ask: Ask) -> None:
    mock_s3.spoil(fault, "GET", where="a/odd")
    with may_not_see(fault, ask) or pytest.raises(Unreadable, match=r"a/odd: .*encrypted"):
        ask(s3)
    assert s3.get("a/odd") == b"odd"


@pytest.mark.parametrize("fault", [Fault.ARCHIVED, Fault.FOREIGN_KEY, Fault.FORBIDDEN])
def test_what_s3_says_of_one_objects_size(s3: S3Storage, mock_s3: FaultyS3, fault: Fault) -> None:
    """So whoever asks how much a thousand objects hold (`errata prune`) hears of all others."""
    mock_s3.spoil(fault, "HEAD", 2, where="a/odd")  # a 400 makes botocore ask in another region first
    with pytest.raises(Unreadable, match="a/odd"):
        s3.size("a/odd")
    mock_s3.heal()
    mock_s3.spoil(Fault.FORBIDDEN, "HEAD")
    mock_s3.spoil(Fault.FORBIDDEN, "GET", 10)
    with pytest.raises(StoreUnusable):
        s3.size("a/odd")


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.INTERNAL_ERROR, Fault.SLOW_DOWN])
@pytest.mark.parametrize("ask", READS)
def test_what_s3_says_of_all(s3: S3Storage, mock_s3: FaultyS3, fault: Fault, ask: Ask) -> None:
    mock_s3.spoil(fault, "GET", 10)
    with may_not_see(fault, ask) or pytest.raises(StoreUnusable):
        ask(s3)


def test_a_real_archive_class(s3: S3Storage, mock_s3: FaultyS3) -> None:
    name = s3.url.removeprefix("s3://mock/")
    mock_s3.client().put_object(Bucket="mock", Key=f"{name}/a/cold", Body=b"x", StorageClass="GLACIER")
    with pytest.raises(Unreadable, match="InvalidObjectState"):
        s3.get("a/cold")


def test_a_stream_that_breaks_off_goes_on_where_it_was(s3: S3Storage, mock_s3: FaultyS3) -> None:
    content = os.urandom(300_000)
    s3.put_once("a/large", content)
    mock_s3.spoil(Fault.CUT_ANSWER, "GET", 2, where="a/large")
    assert b"".join(s3.stream("a/large")) == content
    mock_s3.spoil(Fault.CUT_ANSWER, "GET", 9, where="a/large")
    with pytest.raises(StoreUnusable, match="breaks off"):
        list(s3.stream("a/large"))
