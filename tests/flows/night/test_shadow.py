"""A candidate waits in shadow until services have seen enough of it, and then it is released as it was."""

from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from errata.data import layout
from errata.data.images import Pixels
from errata.data.releases.candidate import Candidate, ShadowCounts, put_counts, read_candidate, seen_counts
from errata.data.releases.manifest import read_live
from errata.data.splits import load_split
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.gate.criterion import Name
from errata.flows.night.erase import erase, plan_erasure
from errata.flows.night.run import run_night
from errata.flows.night.summary import NightSummary
from errata.serving.follower import Follower
from errata.serving.shadow import Shadow
from tests.flows.conftest import Place, set_params

ENOUGH = 50
UNSURE = "the candidate is inconclusive on shadow"


@pytest.fixture
def shadowed(quick: Place) -> Place:
    """A place whose candidates must be seen by services first; one report waits in it."""
    set_params(quick.workspace.folder, "gate", shadow_requests=ENOUGH, shadow=0.2)
    quick.report_mistakes(1)
    return quick


def in_shadow(place: Place) -> Candidate:
    found = read_candidate(place.storage)
    assert found is not None
    return found


def shadow_verdict(summary: NightSummary) -> str:
    assert summary.gate_result is not None
    (row,) = (each for each in summary.gate_result.criteria if each.name == Name.SHADOW)
    return row.verdict


def see(place: Place, requests: int, changed: int, name: str = "a-service") -> None:
    """What a service would have written down."""
    found = in_shadow(place)
    counts = ShadowCounts(found.manifest_sha256, found.parent, requests, changed)
    put_counts(place.storage, layout.shadow_counts(found.manifest_sha256, datetime.now(UTC), name), counts)


def answers(place: Place, version: int, images: Pixels) -> NDArray[np.int64]:
    """What the file of a release says."""
    content = place.storage.get(layout.release_file(version, layout.model_file(version)))
    return np.asarray(OnnxClassifier(content, threads=1).predict(images).logits.argmax(1))


def waiting_reports(place: Place) -> set[str]:
    return {layout.stem(key) for key in place.storage.keys(layout.INBOX)}


def test_what_was_in_shadow_is_what_is_released_and_later_reports_wait(shadowed: Place) -> None:
    first = run_night(shadowed.night())
    assert (first.outcome, first.sentence, first.version) == (
        "not released",
        UNSURE,
        1,
    )
    candidate = in_shadow(shadowed)
    assert (candidate.version, candidate.parent) == (2, shadowed.digest)
    assert len(waiting_reports(shadowed)) == 1, "nothing is consumed before it is live"

    # a real service sees the day's requests: the candidate's files verify, load, and answer beside what is live
    traffic = load_split(shadowed.workspace.splits, "traffic").images[: ENOUGH + 10]
    with Follower(shadowed.storage) as follower, Shadow(shadowed.storage, follower, every=3600) as shadow:
        assert (follower.release.version, shadow.version) == (1, 2)
        shadow.ask(traffic, follower.predict(traffic))
    before, after = (answers(shadowed, version, traffic) for version in (1, 2))
    (seen,) = seen_counts(shadowed.storage, candidate.manifest_sha256, candidate.parent)
    differ = int((before != after).sum())
    assert (seen.requests, seen.changed, seen.failed) == (ENOUGH + 10, differ, 0)

    shadowed.report_mistakes(3)
    assert len(waiting_reports(shadowed)) == 3
    second = run_night(shadowed.night())
    assert (second.outcome, second.version, second.in_force) == ("released", 2, 1)
    assert shadow_verdict(second) == "pass"
    assert shadowed.digest == candidate.manifest_sha256, "another release than the one that was in shadow"
    live = read_live(shadowed.storage)
    assert live is not None
    assert f"; in shadow {differ} of {ENOUGH + 10} otherwise; look " in live[0].why
    assert len(waiting_reports(shadowed)) == 2, "what came later waits for the next candidate"

    third = run_night(shadowed.night())
    assert (third.outcome, third.sentence) == ("not released", UNSURE)
    assert (in_shadow(shadowed).version, in_shadow(shadowed).parent) == (3, candidate.manifest_sha256)


@pytest.mark.slow
def test_without_enough_requests_the_same_candidate_waits_on(shadowed: Place) -> None:
    run_night(shadowed.night())
    candidate = in_shadow(shadowed)
    see(shadowed, ENOUGH - 1, 0)
    shadowed.report_mistakes(2)
    assert run_night(shadowed.night()).outcome == "not released"
    assert in_shadow(shadowed) == candidate
    see(shadowed, 1, 0, "another-service")
    assert run_night(shadowed.night()).version == 2
    assert shadowed.digest == candidate.manifest_sha256


def test_what_shadow_refused_gives_way_to_another_candidate(shadowed: Place) -> None:
    run_night(shadowed.night())
    refused = in_shadow(shadowed)
    see(shadowed, ENOUGH, ENOUGH // 2)
    shadowed.report_mistakes(2)
    second = run_night(shadowed.night())
    other = in_shadow(shadowed)
    assert (second.outcome, other.version, len(other.corrections)) == ("not released", 3, 2)
    assert {each.id for each in refused.corrections} < {each.id for each in other.corrections}
    found = read_live(shadowed.storage)
    assert found is not None
    assert found[0].version == 1


def test_an_erased_photo_leaves_the_shadow(quick: Place) -> None:
    set_params(quick.workspace.folder, "gate", shadow_requests=ENOUGH)
    (report,) = quick.report_mistakes(1)
    run_night(quick.night())
    assert in_shadow(quick).version == 2
    with Follower(quick.storage) as follower, Shadow(quick.storage, follower, every=3600) as shadow:
        assert shadow.version == 2
        plan = plan_erasure(quick.storage, name=report.image, by="Ada", why="asked")
        assert (plan.holding, plan.never_live) == ((), (2,))
        assert erase(quick.night(), plan).erased is not None
        assert read_candidate(quick.storage) is None
        assert list(quick.storage.keys(layout.release_file(2, ""))) == []
        shadow.look()
        assert shadow.version is None, "the service still has what was erased in memory"


def test_a_person_may_let_it_pass_all_the_same(shadowed: Place) -> None:
    summary = run_night(shadowed.night(), ask_approval=lambda _gate_result: "Ada")
    assert (summary.outcome, summary.version) == ("released", 2)
    found = read_live(shadowed.storage)
    assert found is not None
    assert "inconclusive, let pass by Ada" in found[0].why
