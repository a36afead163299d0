"""The night's reports as one table: what the night tells, keeps and refuses of it."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from errata.data import layout
from errata.data.expectations.observations import Observations
from errata.data.inbox.refusals import Reason
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.editing.errors import DataError
from errata.flows.night.collect import collect
from errata.flows.night.parent import sync
from errata.flows.night.run import run_night
from tests.flows.conftest import Place


def expect(place: Place, column: str, severity: str, kind: str = "max", **limits: object) -> None:
    rule = {
        "type": f"expect_column_{kind}_to_be_between",
        "kwargs": {"column": column, **limits},
        "severity": severity,
    }
    place.workspace.expectations.mkdir(exist_ok=True)
    path = place.workspace.expectations / "reports.json"
    path.write_text(json.dumps({"name": "reports", "expectations": [rule]}))


@pytest.mark.slow
def test_a_warning_is_told_and_what_was_observed_is_kept_for_the_nights_to_come(place: Place) -> None:
    place.report_mistakes(3)
    expect(place, "reporter_share", "warning", max_value=0.5)
    night = place.night()
    found = collect(night, sync(night))
    assert found.refused == ()
    assert len(found.corrections) == 3
    told = "the night's reports break the rule reporter_share column max to be between (max_value 0.5): observed 1"
    assert found.observed is not None
    assert [each.observed for each in found.observed.outcomes] == [1.0]  # all three are anonymous
    assert found.observed.warnings == (told,)
    assert list(place.storage.keys(layout.OBSERVATIONS)) == []  # collecting changes nothing

    place.workspace.expectations.joinpath("reports.json").unlink()
    expect(place, "report", "critical", "value_lengths", max_value=3)  # no report passes: the night is a short one
    summary = run_night(place.night())
    assert summary.outcome == "nothing to correct"
    assert {each.reason for each in summary.refused} == {Reason.INVALID}
    assert all("report column value lengths to be between (max_value 3" in each.detail for each in summary.refused)
    [key] = place.storage.keys(layout.OBSERVATIONS)
    kept = Observations.model_validate_json(place.storage.get(key))
    quarantined = [json.loads(place.storage.get(key)) for key in place.storage.keys(layout.QUARANTINE)]
    assert Counter(json.loads(each["text"])["expected"] for each in quarantined) == Counter(kept.expected)
    assert (place.workspace.data_docs / "index.html").exists()


def test_a_table_that_breaks_a_critical_rule_stops_the_night_and_nothing_is_consumed(place: Place) -> None:
    reports = place.report_mistakes(2)
    expect(place, "reporter_share", "critical", max_value=0.5)
    with pytest.raises(DataError, match=r"breaks the rule reporter_share .*observed 1.*reports\.json"):
        run_night(place.night())
    assert {layout.stem(key) for key in place.storage.keys(layout.INBOX)} == {each.id for each in reports}
    assert list(place.storage.keys(layout.QUARANTINE)) == []
    assert list(place.storage.keys(layout.OBSERVATIONS)) == []


def test_a_fault_in_the_file_is_told_before_a_report_is_looked_at(place: Place) -> None:
    place.storage.put_once(layout.inbox_report("0" * 64), b"{not json")
    expect(place, "reporter_shar", "warning", max_value=0.5)
    night = place.night()
    with pytest.raises(DataError, match="'reporter_shar' is no column"):
        collect(night, sync(night))


def test_reports_from_the_future_wait_and_are_in_no_table(place: Place) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    [report] = place.report_mistakes(1)
    image = place.storage.get(layout.image(report.image))
    other = next(name for name in traffic.classes if name not in {report.expected, report.predicted})
    early = file_report(
        place.storage, image, other, reporter="b", filed_at=report.filed_at.replace(year=report.filed_at.year + 1)
    )
    night = place.night()
    found = collect(night, sync(night))
    assert found.waiting == (early.id,)
    assert [each.reports for each in found.corrections] == [(report.id,)]  # no conflict with what waits
    assert found.observed is not None
    assert found.observed.reports == 1


@pytest.mark.slow
def test_a_night_without_reports_does_not_wait_for_great_expectations(place: Place) -> None:
    code = (
        "import sys; from pathlib import Path;"
        "from tests.flows.conftest import Place; from errata.flows.night.run import run_night;"
        f"print(run_night(Place(Path({str(place.folder)!r})).night()).outcome, 'great_expectations' in sys.modules)"
    )
    command, folder = [sys.executable, "-c", code], Path(__file__).parents[3]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "nothing to correct False", done.stderr
