"""A run's name says when it was and what became of it."""

import re

import pytest

from errata.flows.night.summary import NightSummary, Outcome
from errata.flows.prefect_runs.run_names import ended, outcome_name, outcome_tags, run_name


def test_a_release_that_does_not_hold_all_says_so_in_its_name() -> None:
    none = NightSummary("released", 7, reports=3, corrections=2, in_force=0, without_slot={"a": "", "b": ""})
    assert outcome_name(none) == "released 7, none of 2 corrections hold"


@pytest.mark.parametrize(
    ("outcome", "name", "tags"),
    [
        ("released", "released 7", {"released", "release-7"}),
        ("not released", "not released", {"not-released"}),
        ("nothing to correct", "nothing to correct", {"nothing-to-correct"}),
    ],
)
def test_name_and_tags(outcome: Outcome, name: str, tags: set[str]) -> None:
    summary = NightSummary(outcome, version=7, reports=3, corrections=2, in_force=2)
    assert ended("2026-11-21 02:00 at work", outcome_name(summary)) == f"2026-11-21 02:00 {name}"
    assert outcome_tags(summary) == tags
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d at work", run_name())
