"""Looks at a split: counted once for each model, never forgotten, whatever crashes or gets lost."""

import secrets
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from errata.data import layout
from errata.data.releases.looks import RECORD, Looks
from errata.data.releases.manifest import read_live
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, StoreUnusable
from errata.flows.releases.contents.sign import sign_store
from errata.flows.releases.pointer import renew
from tests.data.releases.test_signing import write_keys
from tests.serving.releases import release

SPLIT, OTHER = "a" * 64, "b" * 64
IMAGES = [f"{index:064x}" for index in range(5)]
FRESH = [f"{index:064x}" for index in range(5, 9)]


def model(number: int) -> str:
    return f"{number:064x}"


def test_each_model_is_a_look_and_the_same_again_is_the_same_look(storage: Storage) -> None:
    looks = Looks(storage, "ada", "a run")
    assert [looks.count(SPLIT, IMAGES, model(each)) for each in (7, 8, 7, 9, 8)] == [1, 2, 1, 3, 2]
    assert looks.so_far(SPLIT, IMAGES) == 3
    assert (looks.number_of(SPLIT, model(9)), looks.number_of(SPLIT, model(1))) == (3, None)
    found = RECORD.validate_json(storage.get(layout.look(SPLIT, 3, model(9))))
    assert (found.split, found.number, found.model, found.by, found.run) == (SPLIT, 3, model(9), "ada", "a run")
    # another machine, which has only the store
    assert Looks(storage, "grace", "another run").count(SPLIT, IMAGES, model(10)) == 4


def test_new_images_start_anew_and_the_old_looks_stay(storage: Storage) -> None:
    looks = Looks(storage)
    for each in range(4):
        looks.count(SPLIT, IMAGES, model(each))
    before = set(storage.keys(layout.LOOKS))
    assert looks.count(OTHER, FRESH, model(0)) == 1  # the live model itself, on images that nobody judged by
    assert looks.count(OTHER, FRESH, model(9)) == 2
    assert before < set(storage.keys(layout.LOOKS))
    assert looks.count(SPLIT, IMAGES, model(9)) == 5  # whoever goes back to the old images finds what was spent


def test_a_split_of_the_same_images_does_not_start_anew(storage: Storage) -> None:
    """Another seed or another size: one image in common is enough."""
    looks = Looks(storage)
    for each in range(4):
        looks.count(SPLIT, IMAGES, model(each))
    assert looks.so_far(OTHER, [*FRESH, IMAGES[3]]) == 4
    assert looks.count(OTHER, [*FRESH, IMAGES[3]], model(0)) == 5
    assert looks.so_far(OTHER, [*FRESH, IMAGES[3]]) == 5
    assert looks.count(SPLIT, IMAGES, model(7)) == 6
    assert looks.count(SPLIT, IMAGES, model(3)) == 4  # what was judged then is what it was


class Racing(LocalStorage):
    """Between this run's listing and its record another run counts a look."""

    rival: str | None = None

    def put_once(self, key: str, content: bytes) -> None:
        rival, self.rival = self.rival, None
        if rival is not None and "/judged/" in key:
            Looks(LocalStorage(Path(self.url))).count(SPLIT, IMAGES, rival)
        elif rival is not None:
            self.rival = rival
        super().put_once(key, content)


def test_two_that_count_at_the_same_moment_never_share_the_earlier_number(tmp_path: Path) -> None:
    storage = Racing(tmp_path / "store")
    Looks(storage).count(SPLIT, IMAGES, model(1))
    storage.rival = model(2)
    assert Looks(storage).count(SPLIT, IMAGES, model(3)) == 3  # the rival was told 2
    assert Looks(storage).count(SPLIT, IMAGES, model(4)) == 4


def test_two_that_count_the_same_model_at_the_same_moment_count_one_look(tmp_path: Path) -> None:
    storage = Racing(tmp_path / "store")
    Looks(storage).count(SPLIT, IMAGES, model(1))
    storage.rival = model(2)
    assert Looks(storage, "ada").count(SPLIT, IMAGES, model(2)) == 2
    assert Looks(storage).so_far(SPLIT, IMAGES) == 2


def test_a_record_that_was_removed_gives_no_look_back(storage: Storage) -> None:
    looks = Looks(storage)
    for each in range(1, 5):
        looks.count(SPLIT, IMAGES, model(each))
    storage.delete(layout.look(SPLIT, 2, model(2)))
    assert looks.count(SPLIT, IMAGES, model(5)) == 5


class Away(LocalStorage):
    """A store that takes no record of a look."""

    def put_once(self, key: str, content: bytes) -> None:
        if "/judged/" in key:
            raise StoreUnusable(f"{key}: away")
        super().put_once(key, content)


def test_without_a_record_there_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable):
        Looks(Away(tmp_path / "store")).count(SPLIT, IMAGES, model(1))


@pytest.mark.parametrize("key", ["x.json", f"{SPLIT}/judged/1-{model(1)}.json", f"{SPLIT}/judged/{'0' * 8}-abc.json"])
def test_what_is_no_record_is_named(storage: Storage, key: str) -> None:
    Looks(storage).count(SPLIT, IMAGES, model(1))
    storage.put_once(f"{layout.LOOKS}{key}", secrets.token_bytes(4))
    with pytest.raises(Damaged, match="is no record of a look"):
        Looks(storage).count(SPLIT, IMAGES, model(2))


def test_a_look_with_the_last_of_all_numbers_is_named_and_once_it_is_gone_counting_goes_on(storage: Storage) -> None:
    Looks(storage).count(SPLIT, IMAGES, model(1))
    forged = layout.look(SPLIT, 99_999_999, model(9))
    storage.put_once(forged, b"{}")
    before = list(storage.keys(""))
    with pytest.raises(Damaged, match="99,999,999, which nobody took"):
        Looks(storage).count(SPLIT, IMAGES, model(2))
    assert list(storage.keys("")) == before  # nothing was written that no name has room for
    storage.delete(forged)
    assert Looks(storage).count(SPLIT, IMAGES, model(2)) == 2


def test_a_split_whose_images_are_unknown_counts_nothing(storage: Storage) -> None:
    Looks(storage).count(SPLIT, IMAGES, model(1))
    storage.delete(layout.judging_images(SPLIT))
    with pytest.raises(Damaged, match="restore it"):
        Looks(storage).count(OTHER, FRESH, model(2))


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))


def night_over(storage: Storage) -> None:
    """What a night that releases nothing does at its end."""
    renew(storage, 0, Looks(storage).standing())


@pytest.mark.usefixtures("keys")
def test_where_pointers_are_signed_deleted_looks_stay_spent(storage: Storage) -> None:
    release(storage, 1)
    for each in range(1, 6):
        Looks(storage).count(SPLIT, IMAGES, model(each))
    night_over(storage)
    for key in list(storage.keys(layout.LOOKS)):
        storage.delete(key)
    assert Looks(storage).so_far(SPLIT, IMAGES) == 5
    assert Looks(storage).count(SPLIT, IMAGES, model(6)) == 6
    release(storage, 2)  # vouches for what the pointer before did
    night_over(storage)
    storage.delete(layout.look(SPLIT, 6, model(6)))
    assert Looks(storage).count(SPLIT, IMAGES, model(7)) == 7
    # another seed, with an image in common: it is not known any more which images were looked at
    storage.delete(layout.judging_images(SPLIT))
    for key in list(storage.keys(layout.LOOKS)):
        storage.delete(key)
    with pytest.raises(Damaged, match="restore it"):
        Looks(storage).count(OTHER, [*FRESH, IMAGES[3]], model(8))


@pytest.mark.usefixtures("keys")
def test_where_pointers_are_signed_rewritten_looks_give_nothing_back(storage: Storage) -> None:
    release(storage, 1)
    for each in range(1, 6):
        Looks(storage).count(SPLIT, IMAGES, model(each))
    night_over(storage)
    genuine = storage.get(layout.look(SPLIT, 5, model(5)))
    for each in range(1, 6):  # renumbered: all were the first look
        storage.delete(layout.look(SPLIT, each, model(each)))
        storage.put_once(layout.look(SPLIT, 1, model(each)), genuine.replace(b'"number":5', b'"number":1'))
    # and a release that is a pure function, so who knows it beforehand can say that it was judged first
    for number, content in ((1, genuine.replace(model(5).encode(), model(6).encode())), (2, b"{}"), (3, genuine)):
        storage.put_once(layout.look(SPLIT, number, model(6)), content)
    assert Looks(storage).count(SPLIT, IMAGES, model(6)) > 5
    assert Looks(storage).count(SPLIT, IMAGES, model(5)) > 5
    storage.delete(layout.judging_images(SPLIT))
    storage.put_once(layout.judging_images(SPLIT), FRESH[0].encode())  # as if no image were shared
    with pytest.raises(Damaged, match="was changed"):
        Looks(storage).count(OTHER, [*FRESH, IMAGES[3]], model(8))


def test_a_signed_look_is_the_same_look_again_and_without_keys_nothing_is_vouched_for(
    storage: Storage, request: pytest.FixtureRequest
) -> None:
    release(storage, 1)
    before = storage.read(layout.LIVE).content
    Looks(storage).count(SPLIT, IMAGES, model(1))
    night_over(storage)
    assert storage.read(layout.LIVE).content == before  # which older clients read
    request.getfixturevalue("keys")
    sign_store(storage)
    assert Looks(storage).count(SPLIT, IMAGES, model(2)) == 2
    night_over(storage)
    assert Looks(storage).count(SPLIT, IMAGES, model(2)) == 2
    found = read_live(storage)
    assert found is not None
    assert found[0].judged[SPLIT].looks == 2
    request.getfixturevalue("monkeypatch").delenv(SIGNING_KEY)  # an auditor counts nothing, and reads all
    assert Looks(storage).so_far(SPLIT, IMAGES) == 2
