"""Tables against expectations, by the real Great Expectations; what it observes is computed here in plain Python."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import pytest
from pydantic import JsonValue

from errata.data.datasets import LabelledImages
from errata.data.expectations.observations import Outcome, partition
from errata.data.expectations.suites import DEFAULTS, Checked, check_table, load_suite
from errata.data.expectations.tables import ReportRow, report_table, split_tables
from errata.data.images import pixel_digest
from errata.data.reports import make_report
from errata.editing.errors import DataError
from tests.data.conftest import NOON

CLASSES = ("cat", "dog", "owl")
BEFORE = Counter(cat=50, dog=40, owl=10)
VALUES: dict[str, JsonValue] = {
    "classes": list(CLASSES),
    "classes_before": partition(BEFORE, CLASSES),
    "width": 8,
    "height": 8,
}
Write = Callable[..., Path]


def rows(claims: list[tuple[str, str, str, int]]) -> list[ReportRow]:
    """One row for each (expected, reporter, image, width); each was filed an hour before the one before it."""
    return [
        ReportRow(
            make_report(image.encode(), expected, reporter=reporter, filed_at=NOON - timedelta(hours=hours)),
            pixel_digest(np.full((8, 8, 3), len(image), np.uint8)),
            width,
            8,
        )
        for hours, (expected, reporter, image, width) in enumerate(claims)
    ]


# of 60 reports 45 are by one person, who writes the name in two ways; 48 say owl; 6 images are small
CLAIMS = [
    ("owl" if n < 48 else "dog", ("Mallory " if n % 2 else "mallory") if n < 45 else f"person {n}", "i" * (n % 5), w)
    for n, w in enumerate([8] * 53 + [7] * 7)
]
TABLE = report_table(rows(CLAIMS), NOON)
COLUMNS = tuple(TABLE.columns)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the operator's file of expectations; each is (type, column, what it is given besides, severity)."""

    def put(*written: tuple[str, str, dict[str, object], str], **more: object) -> Path:
        expectations = [
            {"type": f"expect_{kind}", "kwargs": {"column": column, **given}, "severity": severity, **more}
            for kind, column, given, severity in written
        ]
        (tmp_path / "t.json").write_text(json.dumps({"name": "t", "expectations": expectations}))
        return tmp_path

    return put


def check(folder: Path, table: pd.DataFrame = TABLE, name: str = "t", run: str = "tonight") -> Checked:
    return check_table(table, load_suite(name, folder, VALUES, COLUMNS), folder / "docs", run)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], Outcome]]:
    """The folder and the outcomes of the expectations that come with Errata, on the table above."""
    folder = tmp_path_factory.mktemp("night")
    checked = check(folder, name="reports")
    assert checked.refused == {}
    return folder, {(each.expectation.removeprefix("expect_column_"), each.column): each for each in checked.outcomes}


def test_the_name_of_a_run_is_no_time(write: Write) -> None:
    """Great Expectations takes a name that looks like a time for one, and this one for the year 586921733662273."""
    folder = write(("column_max_to_be_between", "expected_share", {"max_value": 1.0}, "warning"))
    assert [each.holds for each in check(folder, run="0586921733662273").outcomes] == [True]


def test_what_is_observed_is_what_is_counted(night: tuple[Path, dict[tuple[str, str], Outcome]]) -> None:
    _, outcomes = night
    said = Counter(expected for expected, *_ in CLAIMS)
    tonight = {name: said[name] / len(CLAIMS) for name in CLASSES}
    before = {name: (BEFORE[name] + 1) / 103 for name in CLASSES}
    divergence = sum(share * math.log(share / before[name]) for name, share in tonight.items() if share)
    expected = {
        ("max_to_be_between", "reporter_share"): (45 / 60, False),
        ("max_to_be_between", "expected_share"): (48 / 60, False),
        ("kl_divergence_to_be_less_than", "expected"): (divergence, False),
        ("proportion_of_unique_values_to_be_between", "correction"): (5 / 60, False),
        ("median_to_be_between", "age_days"): (median(n / 24 for n in range(60)), True),
    }
    for key, (value, holds) in expected.items():
        assert outcomes[key].observed == pytest.approx(value), key
        assert outcomes[key].holds is holds, key
        assert outcomes[key].severity == "warning"
    narrow = outcomes["values_to_be_between", "width"]
    assert (narrow.broken, narrow.observed, narrow.holds) == (7, "7 of 60 rows break it", False)
    assert outcomes["values_to_be_between", "height"].holds
    assert len(outcomes) == 7
    rule = "Nine in ten images are sent at least as wide as the model looks at them"
    assert narrow.sentence == f'"{rule}" (width: observed 7 of 60 rows break it)'


def test_the_site_is_great_expectations_own_and_keeps_the_nights(
    night: tuple[Path, dict[tuple[str, str], Outcome]],
) -> None:
    folder, _ = night
    check(folder, name="reports")
    docs = folder / "docs"
    pages = sorted((docs / "validations").rglob("*.html"))
    assert len(pages) == 2
    index = (docs / "index.html").read_text()
    assert all(page.relative_to(docs).as_posix() in index for page in pages)
    assert "0.75" in pages[0].read_text()
    assert "reporter_share" in (docs / "expectations" / "reports.html").read_text()


def test_few_rows_are_not_held_against_shares_nor_anything_against_nights_that_were_not(tmp_path: Path) -> None:
    few = check(tmp_path, TABLE.iloc[:49], "reports")
    assert {each.column for each in few.outcomes} == {"age_days", "width", "height"}
    first = load_suite("reports", tmp_path, {**VALUES, "classes_before": None}, COLUMNS)
    assert len(first.rules) == len(json.loads((DEFAULTS / "reports.json").read_text())["expectations"]) - 1


def test_rows_are_refused_and_a_table_stops_the_night_only_if_it_is_critical(write: Write) -> None:
    rule = ("column_values_to_be_in_set", "expected", {"value_set": ["owl"]})
    checked = check(write((*rule, "critical")))
    assert sorted(checked.refused) == [n for n, (expected, *_) in enumerate(CLAIMS) if expected == "dog"]
    assert all("expected column values to be in set" in broken for [broken] in checked.refused.values())
    checked = check(write((*rule, "warning")))
    assert (checked.refused, checked.outcomes[0].holds, checked.outcomes[0].broken) == ({}, False, 12)
    whole = ("column_max_to_be_between", "reporter_share", {"max_value": 0.7})
    with pytest.raises(DataError, match=r"reporter_share column max to be between \(max_value 0.7\): observed 0.75"):
        check(write((*whole, "critical")))
    assert not check(write((*whole, "info"))).outcomes[0].holds


@pytest.mark.parametrize("severity", ["critical", "warning"])
def test_a_bound_on_nothing_does_not_hold(write: Write, severity: str) -> None:
    assert TABLE["model_version"].isna().all()  # no report says which release it is about
    folder = write(("column_max_to_be_between", "model_version", {"max_value": 5}, severity))
    if severity == "critical":
        with pytest.raises(DataError, match="observed None"):
            check(folder)
    else:
        assert [(each.holds, each.observed) for each in check(folder).outcomes] == [(False, None)]


def test_what_cannot_be_computed_is_an_error_whatever_its_severity(write: Write) -> None:
    with pytest.raises(DataError, match="cannot be computed"):
        check(write(("column_mean_to_be_between", "expected", {"max_value": 5}, "info")))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ({"type": "expect_nonsense"}, "expect_nonsense"),
        ({"kwargs": {"colum": "width"}}, "colum"),
        ({"kwargs": {"column": "breadth"}}, "'breadth' is no column"),
        ({"kwargs": {"column": "width", "max_value": "many"}}, "max_value"),
        ({"kwargs": {"column": "width", "max_value": {"$PARAMETER": "most"}}}, "'most' is no parameter"),
        ({"severity": "refuse"}, "refuse"),
        ({"sevrity": "info"}, "sevrity"),
        ({"meta": {"fewest_rows": "50"}}, "fewest_rows"),
    ],
    ids=str,
)
def test_a_file_with_a_fault_is_refused_and_the_fault_named(
    write: Write, damage: dict[str, object], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(("column_max_to_be_between", "width", {"max_value": 5}, "info"))
    content = json.loads((folder / "t.json").read_text())
    content["expectations"][0].update(damage)
    (folder / "t.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"t\.json: expectation 1 .*{re.escape(told)}"):
        load_suite("t", folder, VALUES, COLUMNS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"expectations": []}', '{"expectations": {}}'])
def test_a_file_that_is_no_suite_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(DataError, match=r"t\.json is no suite"):
        load_suite("t", tmp_path, VALUES, COLUMNS)


def test_an_expectation_that_observes_nothing_may_hold(write: Write) -> None:
    assert check(write(("column_to_exist", "width", {}, "critical"))).outcomes[0].holds


def test_a_quantile_is_kept_though_great_expectations_cannot_write_it(write: Write) -> None:
    ranges = {"quantiles": [0.5], "value_ranges": [[0, 9]]}
    checked = check(write(("column_quantile_values_to_be_between", "width", {"quantile_ranges": ranges}, "critical")))
    assert checked.outcomes[0].holds


def test_nothing_is_printed_and_nothing_left_elsewhere(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(("column_max_to_be_between", "width", {"max_value": 9}, "critical"))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path / "empty")
    check(folder)
    assert list((tmp_path / "empty").iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_reporters_name_is_text_on_the_pages(write: Write) -> None:
    evil = "<script>alert(1)</script><imgsrc=x>"
    table = report_table(rows([("owl", evil, "i", 8), ("dog", f"{evil}2", "ii", 8)]), NOON)
    kinds = ("column_values_to_be_in_set", "column_distinct_values_to_be_in_set")
    folder = write(*((kind, "reporter", {"value_set": ["ann"]}, "warning") for kind in kinds))
    assert [each.holds for each in check(folder, table).outcomes] == [False, False]
    pages = [page.read_text() for page in (folder / "docs").rglob("*.html")]
    assert any("&lt;script&gt;alert(1)" in page for page in pages)
    assert not any("<script>alert(1)" in page or "<imgsrc" in page for page in pages)


def test_splits_as_tables() -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 4, 4, 3), dtype=np.uint8)
    one = LabelledImages(images[:5], np.array([0, 1, 1, 2, 0]), CLASSES)
    two = LabelledImages(images[[4, 5, 6, 6]], np.array([0, 1, 1, 1]), CLASSES)
    tables = split_tables({"one": one, "two": two})
    assert list(tables["one"]["label"]) == ["cat", "dog", "dog", "owl", "cat"]
    assert list(tables["one"]["other_splits"]) == [0, 0, 0, 0, 1]
    assert list(tables["two"]["other_splits"]) == [1, 0, 0, 0]
    assert tables["two"]["image"].duplicated().sum() == 1
    for n, image in enumerate(images[:5]):
        assert tables["one"]["brightness"][n] == pytest.approx(float(image.mean()))
        assert [tables["one"][f"mean_{c}"][n] for c in range(3)] == pytest.approx(
            [float(image[..., c].mean()) for c in range(3)]
        )
