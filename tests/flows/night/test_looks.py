"""A candidate is judged once its look is counted: after a crash, again, and when many looks came before."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.looks import Looks
from errata.data.releases.manifest import read_live
from errata.data.releases.signing import PUBLIC_KEY, SIGNING_KEY
from errata.data.splits import load_split, read_record
from errata.data.storage.local import LocalStorage
from errata.editing.errors import StoreUnusable
from errata.flows.gate.criterion import Name
from errata.flows.gate.judge import judge_candidate
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.gate.spending import confidence_at
from errata.flows.night.run import run_night
from errata.flows.releases.contents.sign import sign_store
from tests.data.releases.test_signing import write_keys
from tests.flows.conftest import Place
from tests.flows.night.faults import before, die, killed


class Crashing(LocalStorage):
    """A machine that dies once a record of a look is written (or, `before`, on the way there)."""

    before = False

    def put_once(self, key: str, content: bytes) -> None:
        if not (self.before and "/judged/" in key):
            super().put_once(key, content)
        if "/judged/" in key:
            raise StoreUnusable("the power is gone")


def looks_of(place: Place) -> list[str]:
    return [key for key in place.storage.keys(layout.LOOKS) if "/judged/" in key]


def count_others(place: Place, count: int) -> None:
    """So many other models were judged on the gate split."""
    images = [pixel_digest(image) for image in load_split(place.workspace.splits, "gate").images]
    split = read_record(place.workspace.splits).splits["gate"].sha256
    for number in range(count):
        Looks(place.storage).count(split, images, f"{number:064x}")


def test_a_crash_between_look_and_verdict_hides_no_look(place: Place) -> None:
    root = looks_of(place)
    assert len(root) == 1  # `errata train` looked
    place.storage.delete(root[0])
    with pytest.raises(StoreUnusable):
        judge_candidate(place.workspace, None, Looks(Crashing(place.folder / "store")))
    (found,) = looks_of(place)
    again = judge_candidate(place.workspace, None, Looks(place.storage))
    assert (again.look, again.verdict) == (1, "pass")  # the same bytes: the same look, not a second one
    assert looks_of(place) == [found]


def test_without_a_record_there_is_no_verdict(place: Place) -> None:
    (only,) = looks_of(place)
    place.storage.delete(only)
    storage = Crashing(place.folder / "store")
    storage.before = True
    with pytest.raises(StoreUnusable):
        judge_candidate(place.workspace, None, Looks(storage))


def test_the_more_looks_came_before_the_wider_the_bounds(place: Place) -> None:
    (only,) = looks_of(place)
    params = place.workspace.params.gate
    first = judge_candidate(place.workspace, None, Looks(place.storage))
    place.storage.delete(only)
    count_others(place, 150)
    late = judge_candidate(place.workspace, None, Looks(place.storage))
    assert (first.look, late.look) == (1, 151)
    assert (first.confidence, late.confidence) == (confidence_at(1, params), confidence_at(151, params))
    early_row, late_row = (next(row for row in each.criteria if row.name == Name.ACCURACY) for each in (first, late))
    assert early_row.value == late_row.value
    assert early_row.bound > late_row.bound
    # what DVC measured is no function of who looked when
    measured = GateMeasurements.from_json(place.workspace.gate.read_bytes())
    assert measured.confidence == params.confidence
    assert next(row.bound for row in measured.rows if row.name == Name.ACCURACY) > early_row.bound


def test_a_night_counts_each_attempt_and_tells_what_is_spent(quick: Place) -> None:
    quick.report_mistakes(1)
    summary = run_night(quick.night())
    assert summary.outcome == "released"
    assert summary.gate_result is not None and summary.gate_result.look == 2
    assert (
        dict(summary.lines())["looks at the gate split"] == "this was look 2; 17% of the gate's error is spent with it"
    )
    assert len(looks_of(quick)) == 2
    entry = quick.storage.get(layout.log_entry(2)).decode()
    assert "look 2 at the gate split" in entry


def test_a_night_killed_before_anything_was_measured_has_counted_its_look(quick: Place) -> None:
    quick.report_mistakes(1)
    killed(quick, before("evaluate", die))
    assert len(looks_of(quick)) == 2
    summary = run_night(quick.night())
    assert summary.gate_result is not None and summary.gate_result.look == 2  # the same candidate: the same look


def test_a_look_of_a_killed_night_is_not_taken_back_where_keys_are_set(
    quick: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to the store kills nights that find a bad candidate, and removes their looks."""
    private, public = write_keys(tmp_path, Ed25519PrivateKey.generate())
    monkeypatch.setenv(SIGNING_KEY, str(private))
    monkeypatch.setenv(PUBLIC_KEY, str(public))
    sign_store(quick.storage)
    quick.report_mistakes(1)
    found = read_live(quick.storage)
    killed(quick, before("evaluate", die))
    vouching = read_live(quick.storage)
    assert found is not None and vouching is not None
    assert [each.looks for each in vouching[0].judged.values()] == [2]
    assert vouching[0].change == found[0].change  # it tells nothing new of what is live
    for key in looks_of(quick):
        quick.storage.delete(key)
    summary = run_night(quick.night())
    assert (summary.outcome, summary.version) == ("released", 2)
    assert summary.gate_result is not None and summary.gate_result.look == 3
