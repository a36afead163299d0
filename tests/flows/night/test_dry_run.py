"""`errata correct --dry-run` says what the night then does, and writes nothing."""

from pathlib import Path

import pytest

from errata.data.inbox.refusals import Reason
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.editing.errors import NightError
from errata.flows.night.collect import collect
from errata.flows.night.dry_run import dry_run
from errata.flows.night.parent import sync
from tests.flows.conftest import Place, set_trust


def everything(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, but for the cache of features, which may be deleted at any time."""
    files = (path for path in folder.rglob("*") if path.is_file() and "features" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_it_says_what_the_night_does_and_writes_nothing(place: Place) -> None:
    set_trust(place.workspace.folder, doubt_one=0.0, trusted=["ann"])
    waits, carries = place.report_mistakes(2)
    traffic = load_split(place.workspace.splits, "traffic")
    image = place.storage.get(f"images/{carries.image}")
    file_report(place.storage, image, carries.expected, predicted=carries.predicted, reporter="ann")
    other = next(name for name in traffic.classes if name not in {waits.expected, waits.predicted})
    unborne = file_report(place.storage, place.storage.get(f"images/{waits.image}"), waits.expected, predicted=other)
    before = everything(place.folder)
    found = dry_run(place.night())
    assert everything(place.folder) == before
    assert (found.reports, found.held, found.changes, found.live) == (4, 0, True, 1)
    assert [(each.expected, len(each.reports)) for each in found.corrections] == [(carries.expected, 2)]
    assert [each.reports for each in found.waiting] == [(waits.id,)]
    assert [(each.report_id, each.reason) for each in found.refused] == [(unborne.id, Reason.NOT_REPRODUCIBLE)]
    tonight = place.night()
    batch = collect(tonight, sync(tonight))
    assert (batch.corrections, batch.refused, batch.sides_waiting) == (found.corrections, found.refused, found.waiting)


def test_without_the_root_it_says_what_brings_it(place: Place) -> None:
    (place.workspace.root / "root.onnx").write_bytes(b"another")
    with pytest.raises(NightError, match="errata correct"):
        dry_run(place.night())
