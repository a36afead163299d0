"""A night's observations: kept once, read back strictly, and only the last of them."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from errata.data import layout
from errata.data.expectations.observations import (
    NIGHTS,
    Observations,
    Outcome,
    claimed_before,
    keep_observations,
    partition,
)
from errata.data.storage import open_storage
from errata.editing.errors import Damaged
from tests.data.conftest import NOON


def observed(day: int, **expected: int) -> Observations:
    return Observations(
        at=NOON + timedelta(days=day), run=f"run{day}", reports=sum(expected.values()), expected=expected, outcomes=()
    )


def test_the_last_nights_are_added_up(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    assert claimed_before(storage) == Counter()
    for day in reversed(range(NIGHTS + 3)):
        keep_observations(storage, observed(day, cat=day, dog=1))
        keep_observations(storage, observed(day, cat=day, dog=1))  # a step that is tried again
    assert claimed_before(storage) == Counter(cat=sum(range(3, NIGHTS + 3)), dog=NIGHTS)


def test_shares_add_up_and_none_is_zero() -> None:
    shares = partition(Counter(cat=7, gone=9), ("cat", "dog"))
    assert shares == {"values": ["cat", "dog"], "weights": [8 / 9, 1 / 9]}


def test_a_damaged_record_is_told_and_named(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.put_once(layout.observations(NOON, "x"), b'{"reports": "2"}')
    with pytest.raises(Damaged, match=r"observations/20260102T120000Z-x\.json is no record of a night"):
        claimed_before(storage)


def test_records_are_strict_and_warnings_are_told() -> None:
    outcome = Outcome(
        expectation="expect_column_max_to_be_between",
        column="reporter_share",
        limits={"max_value": 0.5},
        severity="warning",
        holds=False,
        observed=0.75,
    )
    night = observed(0, cat=1).model_copy(
        update={"outcomes": (outcome, outcome.model_copy(update={"severity": "info"}))}
    )
    rule = "reporter_share column max to be between (max_value 0.5): observed 0.75"
    assert night.warnings == (f"the night's reports break the rule {rule}",)
    said = outcome.model_copy(update={"notes": "No reporter files more than half."})
    assert said.sentence == '"No reporter files more than half" (reporter_share: observed 0.75)'
    assert Observations.model_validate_json(night.model_dump_json()) == night
    with pytest.raises(ValidationError):
        Observations.model_validate({**night.model_dump(), "reports": "1"})
