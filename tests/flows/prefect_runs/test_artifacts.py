"""What a run leaves on its page, and what Prefect's form says of its parameters."""

import re
from dataclasses import replace
from html import unescape

import pytest
from markdown_it import MarkdownIt

from errata.data.belief.waiting import Waiting
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation
from errata.data.releases.ledger import Correction
from errata.flows.correct_model import correct_model
from errata.flows.correct_model import dry_run as dry_run_flow
from errata.flows.gate.criterion import REQUIRED, GateResult, Name, not_computed
from errata.flows.night.dry_run import DryRun
from errata.flows.night.summary import DeferredCorrection, NightSummary, Outcome
from errata.flows.prefect_runs.artifacts import MOST_ROWS, dry_run_page, gate_note, night_page
from errata.flows.train_model import train_model
from tests.flows.gate.gate_rows import PARAMS


def outcome(name: str, after: str) -> CorrectionOutcome:
    return CorrectionOutcome(name * 64, "7", "1", 0.9, after, 0.8, 3 if after == "7" else -1, 5, 8)


def test_the_page_says_what_was_corrected_and_what_was_refused_and_why() -> None:
    refused = (Refusal("r" * 64, Reason.UNKNOWN_CLASS, "'a|b' is none of the model's 10 classes"),)
    deferred = (DeferredCorrection("d" * 64, ("one", "two"), "it did harm"),)
    summary = NightSummary(
        "released", version=2, reports=3, corrections=2, in_force=2, refused=refused, deferred=deferred
    )
    page = night_page(summary, Evaluation((outcome("a", "7"), outcome("b", "1")), (), ()))
    assert "| dddddddddddd | 2 | it did harm |" in page
    lines = page.splitlines()
    rows = [line for line in lines if line.startswith(("| aaaa", "| bbbb"))]
    assert rows == [  # what does not hold comes first
        "| bbbbbbbbbbbb | 1 (90%) | 1 (80%) **does not hold** | 7 | 5 of 8 | - |",
        "| aaaaaaaaaaaa | 1 (90%) | 7 (80%) | 7 | 5 of 8 | slot 3 |",
    ]
    assert "| rrrrrrrrrrrr | unknown class | 'a\\|b' is none of the model's 10 classes |" in lines


def test_what_strangers_write_is_text_in_a_browser() -> None:
    """As markdown with tables has it, whoever renders it: no picture that tells a stranger who looks, no link, no HTML,
    no cell more."""
    evil = "![x](http://evil/?me) <img src=http://evil> a\\|b `c` [d](javascript:e)\nf"
    summary = NightSummary("nothing to correct", 1, 1, 0, 0, (Refusal("r" * 64, Reason.UNKNOWN_CLASS, evil),))
    page = night_page(summary, None)
    shown = MarkdownIt("commonmark").enable("table").render(page)
    assert "<img" not in shown and "<a " not in shown
    (row,) = re.findall(r"<tr>\s*<td>rrrr.*?</tr>", shown, re.DOTALL)
    cells = [unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", row)]
    assert cells == ["r" * 12, "unknown class", evil.replace("\n", " ")]


def test_a_long_night_is_cut_and_says_so() -> None:
    refused = tuple(Refusal(f"{number:064d}", Reason.MALFORMED, "") for number in range(MOST_ROWS + 5))
    page = night_page(NightSummary("nothing to correct", 1, len(refused), 0, 0, refused), None)
    assert page.count("| malformed |") == MOST_ROWS
    assert "and 5 more" in page


def test_the_summary_says_why_reports_were_refused_and_where_to_look() -> None:
    reasons = (Reason.MALFORMED, Reason.ALREADY_RIGHT, Reason.ALREADY_RIGHT)
    refused = tuple(Refusal(f"{number:064d}", reason, "") for number, reason in enumerate(reasons))
    said = dict(NightSummary("nothing to correct", 1, 3, 0, 0, refused).lines())
    assert said["quarantined"] == "3: 2 already right, 1 malformed (`errata quarantine`)"
    assert "quarantined" not in dict(NightSummary("nothing to correct", 1, 3, 0, 0).lines())


@pytest.mark.parametrize(
    ("outcome", "verdict", "said"),
    [
        ("released", "pass", "^$"),
        ("released", "inconclusive", "^A person let it pass .*inconclusive on drawdown.*errata releases"),
        ("not released", "inconclusive", "^The old model stays live: why not"),
    ],
)
def test_the_note_below_the_gate_says_what_is_live_now(outcome: Outcome, verdict: str, said: str) -> None:
    rows = [] if verdict == "pass" else [not_computed(Name.DRAWDOWN, PARAMS)]
    passing = [replace(not_computed(name, PARAMS), value=0.0, bound=0.0, limit=0.0, n=1) for name in REQUIRED["root"]]
    result = GateResult("root", (*passing, *rows))
    assert result.verdict == verdict
    sentence = "" if outcome == "released" else "why not"
    note = gate_note(NightSummary(outcome, 2, 1, 1, 1, sentence=sentence, gate_result=result))
    assert re.match(said, note), note


def test_a_dry_run_says_what_would_be() -> None:
    found = DryRun(
        live=6,
        reports=3,
        corrections=(Correction("c" * 64, "7", ("one", "two")),),
        withdrawn=(),
        refused=(Refusal("r" * 64, Reason.MALFORMED, "no JSON"),),
        waiting=(Waiting("w" * 64, "3", 0.4, ("three",), "2 reporters", 1),),
        held=5,
        changes=True,
    )
    page = dry_run_page(found)
    for row in ("| cccccccccccc | 7 | 2 |", "| wwwwwwwwwwww | 3 | 40% | 1 |", "| rrrrrrrrrrrr | malformed | no JSON |"):
        assert row in page
    assert "| live version | 6 |" in page


@pytest.mark.parametrize(
    ("flow", "more"), [(correct_model, set()), (train_model, {"replace_live"}), (dry_run_flow, set())]
)
def test_the_form_explains_every_parameter(flow: object, more: set[str]) -> None:
    properties = flow.parameters.model_dump()["properties"]  # type: ignore[attr-defined]
    assert set(properties) == {"store", "workspace", "by"} | more
    assert all(len(each["description"]) > 10 for each in properties.values())
    assert properties["by"]["minLength"] == 1
