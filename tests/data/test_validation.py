"""The declared rules: they name the rows that break them, and nothing and NaN are no pass."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from data.intake import Accepted, read_inbox
from data.refusals import Reason
from data.reports import Report
from data.storage import Storage, open_storage
from data.validation import Validation, report_table, validate_reports
from editing.errors import DataError
from tests.data.conftest import NOON

CLASSES = ("cat", "dog")


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "store")


@pytest.fixture
def table(storage: Storage, file_one: Callable[..., Report]) -> pd.DataFrame:
    for seed in range(4):
        file_one(seed, predicted="dog" if seed else None, model_version=seed or None)
    items = [item for item in read_inbox(storage, CLASSES, (8, 8, 3)) if isinstance(item, Accepted)]
    return report_table([(item.report, item.correction) for item in items])


def validate(table: pd.DataFrame, rows: int = 4) -> Validation:
    return validate_reports(table, rows, CLASSES, live_version=3, now=NOON)


def test_a_good_table_passes_every_rule(table: pd.DataFrame, capfd: pytest.CaptureFixture[str]) -> None:
    validation = validate(table)
    assert validation.refusals == ()
    assert all(rule.holds for rule in validation.rules)
    assert {rule.column for rule in validation.rules} >= set(table.columns)
    assert capfd.readouterr() == ("", "")


def test_every_bound_has_its_not_null(table: pd.DataFrame) -> None:
    bounded = {rule.column for rule in validate(table).rules if not rule.name.endswith("not_be_null") and rule.column}
    not_null = {rule.column for rule in validate(table).rules if rule.name.endswith("not_be_null")}
    assert bounded - not_null == {"predicted", "model_version"}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image", "not a digest"),
        ("correction", None),
        ("expected", None),
        ("expected", "horse"),
        ("predicted", "horse"),
        ("reporter", ""),
        ("reporter", None),
        ("model_version", 4),
        ("model_version", -1),
        ("filed_at", pd.NaT),
        ("filed_at", pd.Timestamp("1999-12-31", tz="UTC")),
    ],
    ids=str,
)
def test_a_broken_row_is_refused_and_named(table: pd.DataFrame, column: str, value: object) -> None:
    broken = table["report"].iloc[2]
    table.loc[2, column] = value  # type: ignore[call-overload]
    [refusal] = validate(table).refusals
    assert (refusal.report_id, refusal.reason) == (broken, Reason.INVALID)
    assert column in refusal.detail


def test_a_report_from_the_future_waits_for_the_clock(table: pd.DataFrame) -> None:
    """The clock of this machine may be the one that is wrong; what is wrong in other ways too is refused."""
    table.loc[1, "filed_at"] = table.loc[2, "filed_at"] = pd.Timestamp(NOON + timedelta(days=2))
    table.loc[2, "reporter"] = ""
    early, wrong = table["report"].iloc[1], table["report"].iloc[2]
    validation = validate(table)
    assert validation.waiting == (early,)
    assert [refusal.report_id for refusal in validation.refusals] == [wrong]
    later = validate_reports(table, 4, CLASSES, live_version=3, now=NOON + timedelta(days=1))
    assert later.waiting == ()
    assert [refusal.report_id for refusal in later.refusals] == [wrong]


def test_the_same_report_twice(table: pd.DataFrame) -> None:
    table.loc[1, "report"] = table["report"].iloc[0]
    assert len(validate(table).refusals) == 2


def test_an_empty_or_short_table_is_no_pass(table: pd.DataFrame) -> None:
    for fewer in (table.iloc[:0], table.iloc[:3]):
        with pytest.raises(DataError, match="row_count"):
            validate(fewer)


def test_a_column_that_is_missing_is_no_pass(table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="nothing of it is used"):
        validate(table.drop(columns="filed_at"))


def test_no_reports_need_no_rules() -> None:
    assert validate(report_table([]), rows=0) == Validation(0, (), ())


def test_nothing_is_left_behind(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    monkeypatch.chdir(tmp_path / "empty")
    validate(table)
    assert list((tmp_path / "empty").iterdir()) == []
