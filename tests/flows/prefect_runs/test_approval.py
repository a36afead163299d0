"""Who decides what the gate could not: a person who is asked, and nobody else."""

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.exceptions import FlowPauseTimeout

from flows.gate.criterion import GateResult
from flows.prefect_runs import approval

UNSURE = GateResult("edit", ())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A server is there; what is asked is recorded, and a person says yes."""
    calls: list[Any] = []

    def pause(**words: Any) -> Any:
        calls.append(words)
        return SimpleNamespace(release=True, who="Ada")

    monkeypatch.setattr(approval, "PREFECT_API_URL", SimpleNamespace(value=lambda: "http://127.0.0.1:4200/api"))
    monkeypatch.setattr(approval, "pause_flow_run", pause)
    return calls


def test_a_person_may_say_yes(asked: list[Any]) -> None:
    assert approval.approval_on_page(2, lambda _line: None)(UNSURE) == "Ada"
    assert asked[0]["timeout"] == 120


def test_no_is_no(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "pause_flow_run", lambda **_: SimpleNamespace(release=False, who="Ada"))
    assert approval.approval_on_page(2, lambda _line: None)(UNSURE) == ""


def test_no_answer_is_no(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**_: Any) -> Any:
        raise FlowPauseTimeout("time is up")

    monkeypatch.setattr(approval, "pause_flow_run", nobody)
    assert approval.approval_on_page(2, lambda _line: None)(UNSURE) == ""


def test_nobody_is_asked_without_a_server_or_without_time(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert approval.approval_on_page(0, lambda _line: None)(UNSURE) == ""
    monkeypatch.setattr(approval, "PREFECT_API_URL", SimpleNamespace(value=lambda: None))
    assert approval.approval_on_page(60, lambda _line: None)(UNSURE) == ""
    assert asked == []
