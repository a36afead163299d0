"""What leaves by the stated retention, and what never does."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml

from errata.data import layout
from errata.data.datasets import LabelledImages
from errata.data.images import encode_png, pixel_digest
from errata.data.inbox.quarantine import quarantine, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.candidate import Candidate, ShadowCounts, point_at_candidate, put_counts
from errata.data.releases.erasure import Erasure, ask
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import FileEntry, read_live, sha256, verify_bundle
from errata.data.releases.removal import removal_of
from errata.data.reports import file_report
from errata.data.splits import pack_split
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, Removed, Superseded, Unreadable
from errata.flows.releases.contents.bundle import Bundle
from errata.flows.releases.outputs import OBJECTS
from errata.flows.releases.pointer import announce, log_entries, released_digest, require_live, verified
from errata.flows.releases.retention.prune import PrunePlan, plan_prune, prune
from errata.flows.releases.retention.remote import judging_objects
from errata.flows.releases.retention.stored import record_removals
from errata.flows.releases.rollback import rollback
from errata.flows.releases.standing import decisions
from tests.conftest import NewStore
from tests.flows.conftest import duplicate
from tests.flows.night.faults import Watched
from tests.flows.releases.small import correction, make_bundle, release

LATER = datetime.now(UTC) + timedelta(days=100)


def weighty(version: int, names: str = "", folders: Iterable[str] = ()) -> Bundle:
    """A release with weights, a page, and a dvc.lock that names the `folders` that DVC pushed for it."""
    small = make_bundle(version, names)
    lock = {"stages": {"all": {"outs": [{"path": each, "md5": each} for each in folders]}}}
    files = {
        **small.files,
        layout.model_file(version): b"weights %d" % version,
        layout.DELTA: b"delta %d" % version,
        layout.REPORT: b"page %d" % version,
        "dvc.lock": yaml.safe_dump(lock).encode(),
    }
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    return Bundle(replace(small.manifest, files=entries), files)


def push(storage: Storage, *files: bytes) -> str:
    """Put a folder of such files where DVC puts it; the name of its list."""
    names = [hashlib.md5(each, usedforsecurity=False).hexdigest() for each in files]
    listing = json.dumps([{"md5": name, "relpath": name} for name in names]).encode()
    folder = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
    for name, content in zip([*names, folder], [*files, listing], strict=True):
        storage.put_once(f"{OBJECTS}/{name[:2]}/{name[2:]}", content)
    return folder


def pushed(storage: Storage) -> set[bytes]:
    """What DVC's remote holds, but for lists."""
    return {storage.get(key) for key in storage.keys(f"{OBJECTS}/") if not key.endswith(".dir")}


def plan(storage: Storage, keep: int = 2, days: float = 30) -> PrunePlan:
    """Made a hundred days later."""
    return plan_prune(storage, keep=keep, days=days, now=LATER)


def gone(storage: Storage, found: PrunePlan) -> None:
    prune(storage, found, by="ada", why="a test")


def test_old_weights_go_and_what_is_live_before_or_first_stays(storage: Storage) -> None:
    for version in range(1, 7):
        release(storage, weighty(version, "abcdef"[:version]))
    before = sorted(storage.keys(""))
    found = plan(storage)
    assert [each.version for each in found.releases] == [2, 3, 4]
    assert sorted(storage.keys("")) == before  # a plan changes nothing
    assert found.size == sum(len(b"weights 2") + len(b"delta 2") + len(b"page 2") for _ in found.releases)
    gone(storage, found)
    assert set(before) - set(storage.keys("")) == {
        layout.release_file(version, name) for version in (2, 3, 4) for name in layout.removable(version)
    }
    for version in (2, 3, 4):
        removal, digest = removal_of(storage, version), released_digest(storage, version)
        assert removal is not None
        assert verify_bundle(storage, version, digest, removal.files) == ()
        assert verified(storage, version, digest, spent=True).version == version
        with pytest.raises(Removed, match=r"were pruned on .* by ada"):
            verified(storage, version, digest)
        with pytest.raises(Removed, match=f"release {version} was pruned"):
            rollback(storage, version, by="me", why="")
    for version in (1, 5, 6):
        assert verify_bundle(storage, version, released_digest(storage, version)) == ()
    assert log_entries(storage)[-1].action == "pruned"
    assert plan(storage).size == 0
    assert rollback(storage, by="me", why="").live.version == 5


def test_counts_of_a_shadow_leave_once_its_candidate_waits_no_more(storage: Storage) -> None:
    for version in (1, 2):
        release(storage, weighty(version))
    live, waits, over = require_live(storage)[0].manifest_sha256, "a" * 64, "b" * 64
    now = datetime.now(UTC)
    point_at_candidate(storage, Candidate(3, waits, live, (), (), "a run", now.isoformat()))
    for candidate in (waits, over):
        key = layout.shadow_counts(candidate, now, candidate[:4])
        put_counts(storage, key, ShadowCounts(candidate, live, 10, 0, 0))
    storage.put_once(f"{layout.SHADOW}{over}/notes.txt", b"somebody's own")
    assert plan(storage, days=200).counts == {}
    found = plan(storage)
    assert list(found.counts) == [layout.shadow_counts(over, now, over[:4])]
    gone(storage, found)
    assert len(list(storage.keys(layout.SHADOW))) == 2
    release(storage, weighty(3))  # the candidate's parent is not live any more
    assert list(plan(storage).counts) == [layout.shadow_counts(waits, now, waits[:4])]


def test_what_is_young_or_among_the_newest_stays(storage: Storage) -> None:
    for version in range(1, 7):
        release(storage, weighty(version))
    assert plan(storage, keep=6).releases == plan(storage, days=200).releases == ()
    assert [each.version for each in plan(storage, keep=4).releases] == [2]


def test_a_file_that_is_missing_without_a_record_or_changed_is_not_pruned_but_damaged(storage: Storage) -> None:
    for version in range(1, 6):
        release(storage, weighty(version))
    gone(storage, plan(storage))
    storage.delete(layout.release_file(2, "ledger.jsonl"))
    storage.put_once(layout.release_file(3, layout.REPORT), b"another page")
    for version in (2, 3):
        with pytest.raises(Damaged, match="does not verify"):
            verified(storage, version, released_digest(storage, version), spent=True)


def test_rollbacks_keep_their_meaning(storage: Storage) -> None:
    release(storage, weighty(1))
    release(storage, weighty(2, "a"))
    release(storage, weighty(3, "ab"))
    rollback(storage, 2, by="me", why="b was wrong")
    for version in (4, 5, 6):
        release(storage, weighty(version, "a"))
    standing = {claim: each.action for claim, each in decisions(storage, require_live(storage)[0]).items()}
    assert standing == {correction("b").claim: "retracted"}
    gone(storage, plan(storage))
    assert removal_of(storage, 3) and removal_of(storage, 2)
    after = {claim: each.action for claim, each in decisions(storage, require_live(storage)[0]).items()}
    assert after == standing


def test_dvcs_objects_go_that_only_pruned_releases_need(storage: Storage) -> None:
    old, new = push(storage, b"old root"), push(storage, b"new root")
    folders = [push(storage, b"the same", b"candidate %d" % version) for version in range(1, 6)]
    push(storage, b"of a night that is under way", b"candidate 3")
    for version, folder in enumerate(folders, 1):
        root = old if version in (2, 3) else new
        release(storage, weighty(version, folders=[root, folder]))
    before, lists = pushed(storage), len(list(storage.keys(f"{OBJECTS}/"))) - len(pushed(storage))
    found = plan(storage)
    assert [each.version for each in found.releases] == [2, 3]
    gone(storage, found)
    assert before - pushed(storage) == {b"old root", b"candidate 2"}
    assert len(list(storage.keys(f"{OBJECTS}/"))) - len(pushed(storage)) == lists - 3  # the root's and two candidates'


def test_a_gate_split_that_nobody_can_read_does_not_hold_up_an_erasure(storage: Storage) -> None:
    """It may hold the photo, and no release can be made with it again: it goes, and one without the photo stays."""
    images = np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8, 1)
    other = pack_split(LabelledImages(images, np.array([0, 1]), ("a", "b")))
    keys = {}
    for content in (b"no split", other):
        name = hashlib.md5(content, usedforsecurity=False).hexdigest()
        listing = json.dumps([{"md5": name, "relpath": "gate.npz"}]).encode()
        folder = hashlib.md5(listing, usedforsecurity=False).hexdigest() + ".dir"
        for each, bytes_ in ((name, content), (folder, listing)):
            storage.put_once(f"{OBJECTS}/{each[:2]}/{each[2:]}", bytes_)
        keys[content] = f"{OBJECTS}/{name[:2]}/{name[2:]}"
    assert judging_objects(storage, ["a" * 64]) == [keys[b"no split"]]
    assert judging_objects(storage, [pixel_digest(images[1])]) == sorted(keys.values())


def test_evidence_is_spent_once_only_old_reports_speak_of_it(storage: Storage) -> None:
    shades = [encode_png(np.full((4, 4, 3), shade, np.uint8)) for shade in range(5)]
    held, old, young, waits, unspoken = (layout.image(sha256(each)) for each in shades)
    storage.put_once(unspoken, shades[4])
    reports = [file_report(storage, picture, "7") for picture in shades[:4]]
    small = make_bundle(1)
    ledger = Ledger(1, (Correction("a" * 64, "7", (reports[0].id,)),)).to_jsonl().encode()
    files = {**small.files, "ledger.jsonl": ledger}
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    release(storage, Bundle(replace(small.manifest, files=entries), files))
    settle(storage, [reports[0].id, reports[1].id], 1)
    refusal = Refusal(reports[2].id, Reason.CONFLICT, "a test")
    quarantine(storage, refusal, LATER - timedelta(days=1))
    assert set(plan(storage).images) == {old}
    gone(storage, plan(storage))
    assert set(storage.keys(layout.IMAGES)) == {held, young, waits, unspoken}
    assert set(plan_prune(storage, keep=2, days=0, now=LATER).images) == {young}
    silent = layout.inbox_report("d" * 64)
    storage.put_once(silent, b"of which nobody can tell now what it speaks of")

    def refuse(operation: str, key: str) -> None:
        if (operation, key) == ("get", silent):
            raise Unreadable(key)

    assert plan_prune(Watched(storage, refuse), keep=2, days=0, now=LATER).images == {}
    storage.put_once(f"{layout.INBOX}monday.jsonl", b"")  # a batch, not filed yet, may speak of it
    assert plan_prune(storage, keep=2, days=0, now=LATER).images == {}
    storage.put_once(old, shades[1])
    ask(storage, Erasure(1, (old.removeprefix(layout.IMAGES),), (), (), (), "ada", "they asked", "2026-01-01"))
    assert set(plan(storage).images) == {old}  # filed again after it was erased


def test_somebody_who_goes_back_meanwhile_is_not_left_without_weights(storage: Storage) -> None:
    for version in range(1, 6):
        release(storage, weighty(version))
    found = plan(storage)
    rollback(storage, 2, by="me", why="complaints")
    with pytest.raises(Superseded):
        gone(storage, found)
    live, _ = require_live(storage)
    assert live.version == 2
    assert verify_bundle(storage, 2, live.manifest_sha256) == ()
    assert [removal_of(storage, version) for version in range(1, 6)] == [None] * 5
    assert [each.version for each in plan(storage).releases] == [3]


def test_of_two_at_once_the_slower_one_leaves_the_others_records(storage: Storage) -> None:
    for version in range(1, 6):
        release(storage, weighty(version))
    slow = plan(storage)

    gone(storage, plan(storage))
    with pytest.raises(Superseded):
        gone(storage, slow)
    live, _ = require_live(storage)
    for version in (2, 3):
        removal = removal_of(storage, version)
        assert removal is not None
        assert verify_bundle(storage, version, released_digest(storage, version), removal.files) == ()
    assert verify_bundle(storage, 5, live.manifest_sha256) == ()


def test_an_erasure_meanwhile_keeps_its_record(storage: Storage) -> None:
    for version in range(1, 6):
        release(storage, weighty(version))
    found = plan(storage)
    assert 2 in {each.version for each in found.releases}
    [two] = [each for each in found.releases if each.version == 2]
    record_removals(storage, [two], "erased", by="ada", why="they asked", at="2026-01-01T00:00:00+00:00", erasure=1)
    announce(storage, "erased", "erased/00000001/asked.json", by="ada", why="they asked")
    with pytest.raises(Superseded):
        gone(storage, found)
    removal = removal_of(storage, 2)
    assert removal is not None
    assert (removal.cause, removal.erasure) == ("erased", 1)
    assert removal_of(storage, 3) is None


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("new_store", ["local", pytest.param("mock_s3", marks=pytest.mark.slow)], indirect=True)
def test_killed_before_each_change_the_next_prune_ends_it(new_store: NewStore) -> None:
    first = new_store()
    for version in range(1, 6):
        release(first, weighty(version))
    counted, changes = duplicate(first, new_store()), list[tuple[str, str]]()

    def noted(operation: str, key: str) -> None:
        if operation in ("put", "swap", "delete"):
            changes.append((operation, key))

    gone(Watched(counted, noted), plan(counted))
    whole = set(counted.keys("releases/"))
    assert len(changes) == 2 + 3 + 6  # records; the swap between two entries of the log; files
    for fatal in changes:

        def strike(operation: str, key: str, fatal: tuple[str, str] = fatal) -> None:
            if (operation, key) == fatal:
                raise Killed

        victim = duplicate(first, new_store())
        with pytest.raises(Killed):
            gone(Watched(victim, strike), plan(victim))
        live = read_live(victim)
        assert live is not None
        assert verify_bundle(victim, live[0].version, live[0].manifest_sha256) == ()
        gone(victim, plan(victim))
        assert set(victim.keys("releases/")) == whole, fatal
