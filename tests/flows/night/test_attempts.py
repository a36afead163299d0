"""The loop of attempts, with the slow steps played: what is tried, what is left out, and what becomes of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from errata.data import layout
from errata.data.inbox.deferred import deferred
from errata.data.inbox.quarantine import quarantined
from errata.data.inbox.refusals import Reason
from errata.data.releases.ledger import Correction, Ledger
from errata.data.reports import make_report, put_report
from errata.data.storage.local import LocalStorage
from errata.flows.gate.criterion import GateResult, Name, not_computed
from errata.flows.night.candidate import make_candidate
from errata.flows.night.release import defer
from errata.flows.night.state import Attempt, Batch, Night, Parent
from errata.flows.night.step import Step
from errata.flows.night.summary import DeferredCorrection
from errata.flows.workspace import Workspace
from tests.flows.conftest import make_workspace
from tests.flows.gate.gate_rows import PARAMS, passing_rows

PASS = GateResult("edit", passing_rows())
UNSURE = GateResult("edit", (not_computed(Name.DRAWDOWN, PARAMS),))


class Played:
    """A night whose candidates do harm while one of `bad` is in them; `shown`: how many are found a turn."""

    def __init__(self, folder: Path, bad: set[str], shown: int = 100) -> None:
        make_workspace(folder)
        self.night = Night(LocalStorage(folder / "store"), Workspace(folder), "test", lambda _line: None)
        self.bad, self.shown = bad, shown
        self.competing: set[str] = set()
        self.tried: list[set[str]] = []

    def run_step(self, step: Step[Any, Any], /, *args: Any, **kwargs: Any) -> Any:
        played: dict[str, Callable[..., Any]] = {
            "write ledger": self.write_ledger,
            **dict.fromkeys(("dvc repro", "count look", "evaluate"), lambda *_, **__: None),
            "gate": self.judge,
            "find competing": self.compete,
            "find harm": self.find,
        }
        return played[step.name](*args, **kwargs)

    def write_ledger(self, _night: Night, _parent: Parent, batch: Batch, version: int) -> Ledger:
        self.tried.append({each.id for each in batch.corrections})
        return Ledger(version, batch.corrections)

    def judge(self, *_: Any) -> GateResult:
        return UNSURE if self.tried[-1] & self.bad else PASS

    def find(self, _night: Night, _gate_result: GateResult, new: list[str], _turn: int) -> dict[str, str]:
        return dict.fromkeys(sorted(set(new) & self.bad)[: self.shown], "it turns wrong too many")

    def compete(self, _night: Night, new: list[str], before: set[str]) -> dict[str, str]:
        assert before == {"old"}
        return dict.fromkeys(sorted(set(new) & self.competing), "every slot is taken")

    def solve(self, names: str) -> Attempt:
        batch = Batch(corrections=tuple(Correction(each, "1", (f"report of {each}",)) for each in names))
        manifest = type("NoManifest", (), {"root": "r"})
        parent = cast(
            Parent, type("NoParent", (), {"manifest": manifest, "ledger": Ledger(1), "deferred": {"old": "conflict"}})
        )
        return make_candidate(self.night, parent, batch, 2, self.run_step)


def test_a_batch_that_passes_is_tried_once(tmp_path: Path) -> None:
    played = Played(tmp_path, set())
    last = played.solve("abc")
    assert (last.gate_result.verdict, last.batch.deferred, last.whole) == ("pass", (), True)
    assert played.tried == [set("abc")]


def test_what_takes_a_slot_from_others_is_left_out_though_the_gate_passes(tmp_path: Path) -> None:
    played = Played(tmp_path, set())
    played.competing = {"c"}
    last = played.solve("abc")
    assert (last.gate_result.verdict, last.whole) == ("pass", True)
    assert played.tried == [set("abc"), set("ab")]
    assert [(each.correction, each.why) for each in last.batch.deferred] == [("c", "every slot is taken")]
    alone = Played(tmp_path / "alone", set())
    alone.competing = {"c"}
    assert not alone.solve("c").whole  # nothing is left to release, whatever the gate says


def test_what_does_harm_is_left_out_and_the_rest_passes(tmp_path: Path) -> None:
    played = Played(tmp_path, {"b", "d"})
    last = played.solve("abcd")
    assert last.gate_result.verdict == "pass"
    assert played.tried == [set("abcd"), set("ac")]
    assert [(each.correction, each.reports) for each in last.batch.deferred] == [
        ("b", ("report of b",)),
        ("d", ("report of d",)),
    ]


def test_attempts_are_bounded_and_a_batch_that_lost_some_since_it_was_judged_is_not_whole(tmp_path: Path) -> None:
    played = Played(tmp_path, set("abcdefg"), shown=1)
    last = played.solve("abcdefgh")
    assert len(played.tried) - 1 == played.night.workspace.params.deferral.attempts == 5  # and one by the gate's counts
    assert (last.gate_result.verdict, last.whole) == ("inconclusive", False)
    assert len(last.batch.deferred) == 6


def test_where_nobody_is_found_the_candidate_stays_as_it_is_for_a_person_to_decide(tmp_path: Path) -> None:
    last = Played(tmp_path, {"a"}, shown=0).solve("ab")
    assert (last.gate_result.verdict, last.whole, last.batch.deferred) == ("inconclusive", True, ())


def test_a_candidate_without_anything_new_is_not_made(tmp_path: Path) -> None:
    played = Played(tmp_path, {"a"})
    assert not played.solve("a").whole
    assert played.tried == [{"a"}]


@pytest.mark.parametrize("nights", [3])
def test_after_enough_nights_a_report_goes_to_quarantine_as_harmful(tmp_path: Path, nights: int) -> None:
    night = Played(tmp_path, set()).night
    assert night.workspace.params.deferral.nights == nights
    report = put_report(night.storage, make_report(b"an image", "1"), b"an image")
    batch = Batch(deferred=(DeferredCorrection("a", (report.id,), "it turns wrong 12 images"),))
    for count in range(1, nights):
        tonight = replace(night, name=f"night {count}")
        for _ in range(2):  # a step that is tried again counts no night twice
            defer(tonight, batch)
        assert [each.nights for each in deferred(night.storage)] == [count]
        assert [layout.stem(key) for key in night.storage.keys(layout.INBOX)] == [report.id]
    defer(night, batch)
    (kept,) = quarantined(night.storage)
    assert (kept.id, kept.reason) == (report.id, Reason.HARMFUL)
    assert "it turns wrong 12 images" in kept.detail
    assert list(night.storage.keys(layout.INBOX)) == []
    assert list(deferred(night.storage)) == []
