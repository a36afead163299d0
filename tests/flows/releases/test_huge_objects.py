"""Objects larger than any memory. Of what a reporter may put, who looks through all of them passes such ones by; what
only the worker writes is damaged then, and is named."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import encode_png, pixel_digest
from errata.data.inbox.quarantine import settle
from errata.data.reports import file_report, put_report, read_image
from errata.data.storage.local import LocalStorage
from errata.editing.errors import Damaged, DataError, TooLarge
from errata.flows.releases.lineage import trace
from errata.flows.releases.pointer import require_live
from errata.flows.releases.retention.evidence import kept_reports
from errata.flows.releases.retention.photo import find_photo
from errata.flows.releases.retention.prune import plan_prune
from errata.flows.releases.retention.stored import stored_bundles
from errata.flows.releases.rollback import rollback
from tests.flows.releases.small import make_bundle, release

PIXELS = np.zeros((8, 8, 3), np.uint8)


def make_huge(path: Path) -> None:
    """A terabyte of nothing, which takes no room on the disk."""
    path.touch()
    os.truncate(path, 2**40)


def test_a_photo_is_found_among_objects_of_a_terabyte(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    report = file_report(storage, encode_png(PIXELS), "cat")
    make_huge(tmp_path / layout.image("a" * 64))
    make_huge(tmp_path / layout.inbox_report("b" * 64))
    assert [each.id for each in kept_reports(storage)] == [report.id]
    found = find_photo(storage, (), (8, 8, 3), name=report.id)
    assert (found.images, found.identities) == ((report.image,), (pixel_digest(PIXELS),))
    with pytest.raises(TooLarge):
        read_image(storage, "a" * 64)


def test_what_cannot_be_read_may_be_of_the_photo_and_is_named(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    report = file_report(storage, encode_png(PIXELS), "cat")
    odd = [layout.image("a" * 64), layout.inbox_report("b" * 64)]
    for key in odd:
        os.mkfifo(tmp_path / key)
    found = find_photo(storage, (), (8, 8, 3), name=report.id)
    assert (found.images, found.unread) == ((report.image,), tuple(odd))


def test_a_terabyte_in_the_place_of_a_report_that_a_release_consumed_stays_for_the_next_night(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    key = layout.inbox_report("b" * 64)
    storage.put_once("reports/inbox/a", b"")  # the folder
    make_huge(tmp_path / key)
    settle(storage, ["b" * 64], 1)
    assert key in set(storage.keys(layout.INBOX))


def test_a_terabyte_in_the_place_of_a_report_or_its_image_is_not_read_by_who_files_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    report = file_report(storage, encode_png(PIXELS), "cat")
    for key in (layout.inbox_report(report.id), layout.image(report.image)):
        make_huge(tmp_path / key)
        with pytest.raises(TooLarge):
            put_report(storage, report, encode_png(PIXELS))


def test_a_terabyte_in_the_place_of_any_object_of_the_store_is_read_by_no_command(tmp_path: Path) -> None:
    """Also where only the worker writes: whoever has its rights can put what they like there."""
    storage = LocalStorage(tmp_path)
    for version in (1, 2, 3):
        release(storage, make_bundle(version, "abc"[:version]))
    report = file_report(storage, encode_png(PIXELS), "cat")
    commands: tuple[Callable[[], object], ...] = (
        lambda: trace(storage),
        lambda: rollback(storage, 1, by="me", why="a test"),
        lambda: find_photo(storage, stored_bundles(storage, None), (8, 8, 3), name=report.id),
        lambda: plan_prune(storage, keep=2, days=0),
    )
    for command in commands:
        command()
    for key in list(storage.keys("")):
        whole = (tmp_path / key).read_bytes()
        (tmp_path / key).unlink()
        make_huge(tmp_path / key)
        for command in commands:
            with suppress(Damaged, DataError):
                command()
        (tmp_path / key).unlink()
        (tmp_path / key).write_bytes(whole)
        live, _ = require_live(storage)
        assert live.version in (1, 3)
