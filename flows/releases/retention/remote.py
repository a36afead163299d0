"""DVC's objects in the store that no release needs any more, by what each release's dvc.lock says.

An object is spent if only releases need it whose weights were removed. A list of files that no release's dvc.lock names
(a night that is under way pushed it, or a run that died) is left alone, and so is every file in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import yaml

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.splits import SPLIT_BYTES, unpack_split
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored, TooLarge, Unreadable
from errata.flows.releases.outputs import OBJECTS, read_listing
from errata.flows.releases.retention.stored import StoredBundle

JUDGING = ("gate.npz", "retired.npz")


def spent_objects(storage: Storage, bundles: Iterable[StoredBundle], spent: Iterable[int]) -> list[str]:
    """The keys of objects that only the releases `spent` need; of each folder its files before its list.

    In this order they may be deleted: killed in between, what is left is found again. Raises Damaged if what another
    release needs cannot be told.
    """
    gone: set[str] = set()
    needed: set[str] = set()
    numbers = set(spent)
    for each in bundles:
        (gone if each.version in numbers else needed).update(_folders(storage, each.version))
    gone -= needed
    lists = {key.rsplit("/", 2)[-2] + key.rsplit("/", 1)[-1] for key in storage.keys(f"{OBJECTS}/")}
    lists = {md5 for md5 in lists if md5.endswith(".dir")}
    kept = {md5 for folder in sorted(lists - gone) for md5 in _files(storage, folder, must=folder in needed)}
    keys = []
    for folder in sorted(gone & lists):
        files = _files(storage, folder, must=False) - kept
        keys += [_key(md5) for md5 in sorted(files)] + [_key(folder)]
    return list(dict.fromkeys(keys))


def judging_objects(storage: Storage, identities: Collection[str]) -> list[str]:
    """The keys of objects that are gate splits, or retired ones, with one of these images in them, or so damaged that
    nobody can tell: no release can be made with those again.

    Every list of files is looked at, also of a run that died.
    """
    gone = set(identities)
    keys = set()
    for key in storage.keys(f"{OBJECTS}/"):
        if key.endswith(".dir"):
            folder = "".join(key.rsplit("/", 2)[-2:])
            with suppress(NotStored, Damaged, TooLarge, Unreadable):
                keys |= {_key(each.md5) for each in read_listing(storage, folder) if each.relpath in JUDGING}
    return sorted(key for key in keys if _may_hold(storage, key, gone))


def _may_hold(storage: Storage, key: str, identities: Collection[str]) -> bool:
    """Whether a split is there and has one of these images (pixel digests), or cannot be read as a split."""
    try:
        images = unpack_split(storage.get(key, at_most=SPLIT_BYTES)).images
    except NotStored:
        return False
    except (Damaged, TooLarge):
        return True
    return any(pixel_digest(image) in identities for image in images)


def _folders(storage: Storage, version: int) -> set[str]:
    """The lists of files that a release's dvc.lock names."""
    try:
        lock = yaml.safe_load(storage.get(layout.release_file(version, "dvc.lock")))
        outs = [out["md5"] for stage in lock["stages"].values() for out in stage.get("outs", ())]
    except (NotStored, Unreadable):
        return set()
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise Damaged(f"dvc.lock of release {version} cannot be read ({fault}); restore it from a copy") from fault
    return {md5 for md5 in outs if isinstance(md5, str) and md5.endswith(".dir")}


def _files(storage: Storage, folder: str, *, must: bool) -> set[str]:
    """The files of a folder; of one that cannot be read none, if it need not."""
    try:
        return {each.md5 for each in read_listing(storage, folder)}
    except (NotStored, Damaged, TooLarge, Unreadable):
        if must:
            raise
        return set()


def _key(md5: str) -> str:
    return f"{OBJECTS}/{md5[:2]}/{md5[2:]}"
