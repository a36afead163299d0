"""What cannot be true is refused, whoever filed it; what is from the future waits."""

from datetime import UTC, datetime, timedelta

import pytest

from errata.data.inbox.refusals import Reason
from errata.data.inbox.validation import validate_reports
from errata.data.reports import Report, make_report
from tests.data.conftest import NOON


def report(**claim: object) -> Report:
    return make_report(b"an image", "cat", **{"filed_at": NOON, **claim})  # type: ignore[arg-type]


def test_reports_of_a_release_that_is_made_pass_whatever_they_leave_out() -> None:
    good = [report(), report(model_version=0), report(model_version=3), report(filed_at=NOON + timedelta(hours=23))]
    validation = validate_reports(good, 3, NOON)
    assert (validation.refusals, validation.waiting) == ((), ())


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ({"model_version": 4}, "model_version is 4"),
        ({"filed_at": datetime(1999, 12, 31, tzinfo=UTC)}, "filed_at is"),
        ({"filed_at": datetime(2200, 1, 1, tzinfo=UTC)}, "after 2200"),  # it would wait for ever
    ],
)
def test_what_cannot_be_true_is_refused_and_named(claim: dict[str, object], told: str) -> None:
    bad = report(**claim)
    [refusal] = validate_reports([report(), bad], 3, NOON).refusals
    assert (refusal.report_id, refusal.reason) == (bad.id, Reason.INVALID)
    assert told in refusal.detail


def test_the_future_waits_for_the_clock_unless_it_cannot_be_true_besides() -> None:
    ahead = NOON + timedelta(days=1, seconds=1)
    early, impossible = report(filed_at=ahead), report(filed_at=ahead, model_version=4)
    validation = validate_reports([early, impossible], 3, NOON)
    assert validation.waiting == (early.id,)
    assert [each.report_id for each in validation.refusals] == [impossible.id]
    assert validate_reports([early], 3, ahead).waiting == ()
