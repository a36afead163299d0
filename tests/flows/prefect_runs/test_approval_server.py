"""The question to a person on a real Prefect server: the run waits on its page, and what is answered there counts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from threading import Event, Thread
from time import sleep

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.flow_runs import resume_flow_run
from prefect.testing.utilities import prefect_test_harness
from typer.testing import CliRunner, Result

from errata.data.releases.manifest import read_live
from errata.editing.errors import NightError
from errata.flows.cli.app import app
from errata.flows.correct_model import correct_model
from errata.flows.gate.criterion import GateResult, Name, not_computed
from errata.flows.night import candidate
from errata.flows.night.step import Step
from errata.flows.prefect_runs.approval import NIGHT, answer_run, approval_on_page, waiting_runs
from errata.flows.releases.pointer import log_entries
from errata.flows.workspace import operator
from tests.flows.conftest import Place
from tests.flows.gate.gate_rows import PARAMS

pytestmark = pytest.mark.slow
UNSURE = GateResult("edit", (not_computed(Name.DRAWDOWN, PARAMS),))
PAUSED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PAUSED])))


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@contextmanager
def somebody_says(release: bool) -> Iterator[list[str]]:
    """A person who fills in the form of each run that waits; the names of those runs."""
    answered: list[str] = []
    over = Event()

    def watch() -> None:
        with get_client(sync_client=True) as client:
            while not over.wait(0.5):
                for run in client.read_flow_runs(flow_run_filter=PAUSED):
                    resume_flow_run(run.id, run_input={"release": release, "who": "Ada"})
                    answered.append(run.name)

    person = Thread(target=copy_context().run, args=(watch,), daemon=True)
    person.start()
    yield answered
    over.set()
    person.join()


@flow(name="asks", persist_result=False)
def asks(minutes: float) -> str:
    return approval_on_page(minutes, lambda _line: None)(UNSURE)


@pytest.mark.parametrize(("release", "who"), [(True, "Ada"), (False, "")])
def test_the_answer_on_the_page_counts(server: None, release: bool, who: str) -> None:
    with somebody_says(release) as answered:
        assert asks(2.0) == who
    assert len(answered) == 1


@contextmanager
def somebody_types(*words: str) -> Iterator[list[Result]]:
    """A person who waits until a run asks, and then types `errata approve`; what it answered."""
    said: list[Result] = []

    def watch() -> None:
        while not waiting_runs():
            sleep(0.2)
        said.append(CliRunner().invoke(app, ["approve", "--list", "--json"], catch_exceptions=False))
        with pytest.raises(NightError, match="0 begin with 'another'; for a person wait '") as wrong:
            answer_run("another", release=True, who="Ada")
        assert said[0].stdout.split('"name": "')[1].split('"')[0] in str(wrong.value)
        said.append(CliRunner().invoke(app, ["approve", *words], catch_exceptions=False))

    person = Thread(target=copy_context().run, args=(watch,), daemon=True)
    person.start()
    yield said
    person.join()


@flow(name=NIGHT, persist_result=False)
def a_night() -> str:
    return approval_on_page(2.0, lambda _line: None)(UNSURE)


@pytest.mark.parametrize(
    ("words", "who"), [(("--why", "few images"), f"{operator()} (few images)"), (("--refuse", "too few"), "")]
)
def test_the_answer_from_the_command_line_counts(server: None, words: tuple[str, ...], who: str) -> None:
    with somebody_types(*words) as said:
        assert a_night() == who
    (waits,) = json.loads(said[0].stdout)
    assert "drawdown must be at most 2.00% and was not measured" in waits["question"]
    assert "No answer means no" in waits["question"]
    assert said[1].exit_code == 0
    assert waits["name"] in said[1].output
    with pytest.raises(NightError, match="no night waits"):
        answer_run(None, release=True, who="Ada")


def test_no_answer_in_time_is_no(server: None) -> None:
    assert asks(0.1) == ""


def test_an_inconclusive_night_is_released_by_a_person_and_the_log_says_by_whom(
    server: None, quick: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick.report_mistakes(1)
    monkeypatch.setattr(candidate, "judge", Step("gate", lambda *_: UNSURE))
    monkeypatch.setattr(
        candidate, "find_harmful", Step("find harm", lambda *_: {})
    )  # nobody is to blame: the candidate stays whole
    with somebody_says(False):
        no = correct_model(quick.storage.url, str(quick.workspace.folder))
    assert (no.outcome, no.version) == ("not released", 1)
    with somebody_says(True) as answered:
        yes = correct_model(quick.storage.url, str(quick.workspace.folder))
    assert (yes.outcome, yes.version, len(answered)) == ("released", 2, 1)
    assert "inconclusive, let pass by Ada" in log_entries(quick.storage)[-1].why
    found = read_live(quick.storage)
    assert found is not None
    assert found[0].version == 2
