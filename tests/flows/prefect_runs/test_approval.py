"""Who decides what the gate could not: a person who is asked, and nobody else."""

from dataclasses import replace
from typing import Any

import pytest
from prefect.exceptions import FlowPauseTimeout
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from errata.editing.errors import NightError
from errata.flows.gate.criterion import REQUIRED, GateResult, Name, not_computed
from errata.flows.prefect_runs.approval import Approval, answer_run, approval_on_page
from tests.flows.gate.gate_rows import PARAMS

ROWS = tuple(replace(not_computed(name, PARAMS), value=0.0, bound=0.0, limit=0.0, n=1) for name in REQUIRED["edit"])
UNSURE = GateResult("edit", (*ROWS, replace(not_computed(Name.SHADOW, PARAMS), value=0.025, limit=0.05, n=40)))


class Person:
    """Somebody who is asked, and gives this answer; none: lets the time pass. `asked` are the questions."""

    def __init__(self, answer: Approval | None) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **words: Any) -> Approval:
        self.asked.append(words)
        if self.answer is None:
            raise FlowPauseTimeout("time is up")
        return self.answer


def decide(person: Person, minutes: float = 2, url: str | None = "http://127.0.0.1:4200/api") -> str:
    """Who says yes, asked on a server at `url`."""
    return approval_on_page(minutes, lambda _line: None, lambda: url, person)(UNSURE)


def test_a_person_may_say_yes() -> None:
    person = Person(Approval(release=True, who="Ada"))
    assert decide(person) == "Ada"
    (asked,) = person.asked
    assert asked["timeout"] == 120
    told = "shadow must be at most 5.00%: measured 2.50% (n 40), nothing proven"
    assert asked["wait_for_input"]._description == f"Inconclusive: {told}. No answer means no."


def test_no_is_no() -> None:
    assert decide(Person(Approval(release=False, who="Ada"))) == ""


def test_why_is_told_in_the_log_of_releases() -> None:
    assert decide(Person(Approval(release=True, who="Ada", why="few images"))) == "Ada (few images)"


def test_without_a_server_nobody_can_be_answered() -> None:
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(NightError, match="PREFECT_API_URL"):
        answer_run(None, release=True, who="Ada")
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(NightError, match="does not answer"),
    ):
        answer_run(None, release=True, who="Ada")


def test_no_answer_is_no() -> None:
    assert decide(Person(None)) == ""


def test_nobody_is_asked_without_a_server_or_without_time() -> None:
    person = Person(Approval(release=True, who="Ada"))
    assert decide(person, minutes=0) == ""
    assert decide(person, url=None) == ""
    assert person.asked == []
