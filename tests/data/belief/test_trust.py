"""The decision on claims: each rule alone, and what must hold of any set of claims."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from errata.data.belief.trust import Aggregate, TrustSettings, aggregate
from errata.data.inbox.claim import Claim
from errata.data.inbox.refusals import Reason
from errata.data.releases.ledger import Correction, Ledger
from tests.data.conftest import NOON

EMPTY = Ledger(1)


def claim(report: str, correction: str = "image", expected: str = "cat", reporter: str = "", **rest: object) -> Claim:
    made = Claim(report, f"file of {correction}", correction, expected, None, reporter or f"by {report}", NOON, "dog")
    return replace(made, **rest)  # type: ignore[arg-type]


def judge(
    *claims: Claim,
    ledger: Ledger = EMPTY,
    doubts: dict[tuple[str, str], float] | None = None,
    days: float = 0,
    **settings: object,
) -> Aggregate:
    """The decision on claims that nothing speaks against, unless `doubts` says so."""
    doubts = {(each.correction, each.expected): 0.0 for each in claims} if doubts is None else doubts
    return aggregate(claims, ledger, doubts, TrustSettings(**settings), NOON + timedelta(days=days))  # type: ignore[arg-type]


def agreed(decision: Aggregate) -> dict[str, str]:
    return {each.id: each.expected for each in decision.agreed}


def reasons(decision: Aggregate) -> dict[str, Reason]:
    return {refusal.report_id: refusal.reason for refusal in decision.refusals}


def test_one_report_without_doubt_is_enough_by_default() -> None:
    decision = judge(claim("a"))
    assert agreed(decision) == {"image": "cat"}
    assert decision.agreed[0].reports == ("a",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"control": True}, Reason.CONTROL_IMAGE),
        ({"now": "cat"}, Reason.ALREADY_RIGHT),
        ({"predicted": "fox"}, Reason.NOT_REPRODUCIBLE),
        ({"predicted": "fox", "now": "cat"}, Reason.ALREADY_RIGHT),
    ],
)
def test_claims_that_fail_alone(changes: dict[str, Any], reason: Reason) -> None:
    decision = judge(claim("a", **changes), claim("b", correction="other"))
    assert reasons(decision) == {"a": reason}
    assert agreed(decision) == {"other": "cat"}


def test_a_prediction_that_the_live_model_makes_is_reproducible() -> None:
    assert agreed(judge(claim("a", predicted="dog"))) == {"image": "cat"}


def test_quorum_counts_distinct_reporters_however_spelt() -> None:
    same = [claim("a", reporter="Ann"), claim("b", reporter=" ann"), claim("c", reporter="\uff21\uff2e\uff2e")]
    decision = judge(*same, quorum=2)
    assert decision.waiting == ("a",)
    assert reasons(decision) == {"b": Reason.DUPLICATE, "c": Reason.DUPLICATE}
    assert agreed(judge(*same, claim("d", reporter="bob"), quorum=2)) == {"image": "cat"}


@pytest.mark.parametrize(
    ("doubt", "people"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.2, 2), (0.21, 3), (0.3, 3), (0.31, None), (1.0, None)]
)
def test_doubt_decides_how_many_people_it_takes(doubt: float, people: int | None) -> None:
    doubts = {("image", "cat"): doubt}
    limits: dict[str, Any] = {"doubt_one": 0.1, "doubt_two": 0.2, "doubt_three": 0.3}
    for count in range(1, 6):
        claims = [claim(f"r{number}") for number in range(count)]
        decision = judge(*claims, doubts=doubts, **limits)
        assert agreed(decision) == ({"image": "cat"} if people is not None and count >= people else {})
        if not decision.agreed:
            (side,) = decision.sides_waiting
            needs = "a trusted reporter" if people is None else f"{people} reporters"
            assert (side.doubt, side.needs, len(side.reports)) == (doubt, needs, count)
            assert side.more == (None if people is None else people - count)
    trusted = judge(claim("t", reporter="ann"), doubts=doubts, **limits, trusted=("ann",))
    assert agreed(trusted) == {"image": "cat"}


@pytest.mark.parametrize("doubts", [{}, {("image", "cat"): float("nan")}, {("image", "cat"): -1.0}])
def test_a_doubt_that_was_not_estimated_is_a_full_one(doubts: dict[tuple[str, str], float]) -> None:
    crowd = [claim(f"r{number}") for number in range(9)]
    (side,) = judge(*crowd, doubts=doubts).sides_waiting
    assert (side.doubt, side.needs) == (1.0, "a trusted reporter")


def test_ten_spellings_of_one_name_are_one_of_the_two_people_that_a_doubt_asks_for() -> None:
    names = ["Ann", "ann", " ANN ", "A n n", "A\u200bnn", "A\u00adnn", "\uff21nn", "\u0410nn", "Ánn", "ann "]
    doubts = {("image", "cat"): 0.2}
    decision = judge(*(claim(f"r{n}", reporter=name) for n, name in enumerate(names)), doubts=doubts, doubt_two=0.2)
    assert decision.agreed == ()
    assert decision.waiting == ("r0",)


def test_the_quorum_is_the_least_however_little_doubt_there_is() -> None:
    assert judge(claim("a"), claim("b"), quorum=3).waiting == ("a", "b")


def test_what_waits_too_long_is_refused() -> None:
    assert judge(claim("a"), quorum=2, days=30).waiting == ("a",)
    assert reasons(judge(claim("a"), quorum=2, days=30.1)) == {"a": Reason.NO_QUORUM}


def test_a_trusted_reporter_is_a_quorum() -> None:
    assert agreed(judge(claim("a", reporter="Dr. No"), quorum=5, trusted=("dr. no",))) == {"image": "cat"}


def test_contradictions_are_settled_by_quorum() -> None:
    decision = judge(claim("a"), claim("b"), claim("c", expected="fox"), quorum=2)
    assert agreed(decision) == {"image": "cat"}
    assert reasons(decision) == {"c": Reason.CONFLICT}


def test_two_sides_with_a_quorum_are_a_conflict() -> None:
    decision = judge(claim("a"), claim("b"), claim("c", expected="fox"), claim("d"))
    assert agreed(decision) == {}
    assert set(reasons(decision).values()) == {Reason.CONFLICT}
    assert len(decision.refusals) == 4


def test_contradictions_without_a_quorum_wait_for_one() -> None:
    assert judge(claim("a"), claim("c", expected="fox"), quorum=2).waiting == ("a", "c")


def test_trust_beats_numbers() -> None:
    crowd = [claim(f"r{number}", expected="fox") for number in range(9)]
    decision = judge(claim("a", reporter="ann"), *crowd, trusted=("ann",))
    assert agreed(decision) == {"image": "cat"}
    assert set(reasons(decision).values()) == {Reason.CONFLICT}


def test_two_trusted_reporters_who_disagree_are_a_conflict() -> None:
    claims = [claim("a", reporter="ann"), claim("b", reporter="bob", expected="fox")]
    assert set(reasons(judge(*claims, trusted=("ann", "bob"))).values()) == {Reason.CONFLICT}


def test_what_the_ledger_has_is_a_duplicate_and_what_it_consumed_is_done() -> None:
    ledger = Ledger(1, (Correction("image", "cat", ("a",)),))
    decision = judge(claim("a", now="cat"), claim("b", now="cat"), ledger=ledger)
    assert decision.done == ("a",)
    assert reasons(decision) == {"b": Reason.DUPLICATE}


def test_a_correction_in_force_falls_only_to_more_reporters_or_to_trust() -> None:
    ledger = Ledger(1, (Correction("image", "cat", ("x", "y")),))
    fox = [claim(name, expected="fox", now="cat") for name in ("a", "b", "c")]
    assert set(reasons(judge(*fox[:2], ledger=ledger)).values()) == {Reason.CONFLICT}
    assert agreed(judge(*fox, ledger=ledger)) == {"image": "fox"}
    trusted = claim("t", expected="fox", now="cat", reporter="ann")
    assert agreed(judge(trusted, ledger=ledger, trusted=("ann",))) == {"image": "fox"}


def test_one_flooding_reporter_is_held_to_its_cap() -> None:
    flood = [claim(f"{number:04}", correction=f"i{number}", reporter="mallory") for number in range(1000)]
    honest = [claim(f"h{number}", correction=f"h{number}", reporter=f"p{number}") for number in range(20)]
    decision = judge(*flood, *honest, per_reporter=50, per_class=10_000)
    assert len(decision.agreed) == 50 + 20
    assert list(reasons(decision).values()) == [Reason.REPORTER_CAP] * 950


def test_a_hundred_invented_reporters() -> None:
    """They make any quorum; a trusted reporter where one is needed they do not make, nor pass the cap of a class."""
    crowd = [claim(f"r{n:03}-{i}", correction=f"i{i}", reporter=f"person {n}") for n in range(100) for i in range(3)]
    assert len(judge(*crowd, quorum=50).agreed) == 3
    decision = judge(*crowd, quorum=50, trusted=("ann",), trusted_needed=True)
    assert decision.agreed == ()
    assert len(decision.waiting) == 300
    swallow = [claim(f"r{n:03}", correction=f"i{n}", reporter=f"person {n}") for n in range(100)]
    assert len(judge(*swallow, per_class=10).agreed) == 10


def test_over_the_cap_of_a_class_what_has_most_support_comes_first_and_the_rest_waits() -> None:
    support = {"a": 1, "b": 3, "c": 2}
    claims = [claim(f"{image}{n}", correction=image) for image, count in support.items() for n in range(count)]
    claims.append(claim("z", correction="z", expected="fox"))
    decision = judge(*claims, per_class=2)
    assert agreed(decision) == {"b": "cat", "c": "cat", "z": "fox"}
    assert decision.waiting == ("a0",)


@pytest.mark.parametrize("seed", range(20))
def test_every_claim_is_in_exactly_one_place_and_order_does_not_matter(seed: int) -> None:
    rng = random.Random(seed)
    claims = [
        claim(
            f"r{number}",
            correction=rng.choice("abcdef"),
            expected=rng.choice(["cat", "fox"]),
            reporter=rng.choice(["ann", "bob", "cy", "di"]),
            predicted=rng.choice([None, "dog", "cow"]),
            now=rng.choice(["dog", "dog", "cat"]),
            control=rng.random() < 0.1,
        )
        for number in range(60)
    ]
    ledger = Ledger(1, (Correction("a", "cat", ("r1", "r2")), Correction("b", "fox", ("x",))))
    settings: dict[str, Any] = {
        "quorum": rng.choice([1, 2]),
        "trusted": ("di",),
        "per_reporter": 8,
        "per_class": 2,
    }
    doubts = {(image, name): rng.random() / 3 for image in "abcdef" for name in ("cat", "fox")}
    decision = judge(*claims, ledger=ledger, doubts=doubts, **settings)
    placed = [report for each in decision.agreed for report in each.reports]
    placed += [refusal.report_id for refusal in decision.refusals] + [*decision.waiting, *decision.done]
    assert sorted(placed) == sorted(each.report_id for each in claims)
    rng.shuffle(claims)
    assert judge(*claims, ledger=ledger, doubts=doubts, **settings) == decision
