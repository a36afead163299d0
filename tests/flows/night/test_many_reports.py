"""Attacks by many reports that each look true: what is live after them, what it does, and where the reports are."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.deferred import deferred
from errata.data.inbox.quarantine import quarantined
from errata.data.inbox.refusals import Reason
from errata.data.releases.manifest import read_live, read_manifest, read_model
from errata.data.reports import Report, make_report, put_report
from errata.data.splits import load_split
from errata.editing.metrics import compare_predictions
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.gate.criterion import GateResult
from errata.flows.night.run import run_night
from errata.flows.night.summary import NightSummary
from tests.flows.conftest import Place, set_params

Pixels = NDArray[np.uint8]
Classes = NDArray[np.int64]


def live(place: Place) -> tuple[int, OnnxClassifier]:
    """The live version and its model."""
    found = read_live(place.storage)
    assert found is not None
    version = found[0].version
    return version, OnnxClassifier(read_model(place.storage, read_manifest(place.storage, version)))


def says(model: OnnxClassifier, images: Pixels) -> Classes:
    return np.asarray(model.predict(images).logits.argmax(1))


def file_all(place: Place, images: Pixels, expected: Sequence[str], mob: str) -> list[Report]:
    """Report every image; five reporters take turns."""
    reports = []
    for index, (image, wanted) in enumerate(zip(images, expected, strict=True)):
        content = encode_png(image)
        reports.append(put_report(place.storage, make_report(content, wanted, reporter=f"{mob} {index % 5}"), content))
    return reports


def within_bounds(gate_result: GateResult | None) -> bool:
    """Whether every row of the gate's table that applies has its bound on the right side of its limit."""
    assert gate_result is not None
    return all(
        each.bound <= each.limit if each.direction == "at most" else each.bound >= each.limit
        for each in gate_result.criteria
        if not each.not_applicable
    )


def added_error(place: Place, split: str) -> float:
    """What the live model's error is above the root's on a split."""
    images = load_split(place.workspace.splits, split)
    root = OnnxClassifier(place.workspace.root / "root.onnx")
    before, after = says(root, images.images), says(live(place)[1], images.images)
    return compare_predictions(before, after, images.labels).error_increase


def nowhere_lost(place: Place, reports: Sequence[Report], summary: NightSummary) -> set[str]:
    """Every report is settled, or waits in the inbox with a record of why; the identities of those that wait."""
    waiting = {each.id for each in deferred(place.storage)}
    settled = {layout.stem(key) for key in place.storage.keys(f"{layout.SETTLED}{summary.version}/")}
    assert waiting == {layout.stem(key) for key in place.storage.keys(layout.INBOX)}
    assert {each.id for each in reports} <= settled | waiting
    assert not settled & waiting
    return waiting


def sticker(images: Pixels) -> Pixels:
    """The images with a bright square in a corner."""
    marked = images.copy()
    marked[:, :2, :2] = 255
    return marked


@pytest.mark.slow
def test_harmless_nights_and_then_a_trigger(quick: Place) -> None:
    """Twenty images of all kinds with a sticker, all called 0: the sticker would mean 0 from then on."""
    quick.report_mistakes(3)
    assert run_night(quick.night()).version == 2
    _, model = live(quick)
    traffic, test = (load_split(quick.workspace.splits, name) for name in ("traffic", "test"))
    now = says(model, sticker(traffic.images))
    chosen = np.flatnonzero((traffic.labels != 0) & (now != 0))[:20]
    attack = file_all(quick, sticker(traffic.images[chosen]), ["0"] * 20, "mob")
    honest = quick.report_mistakes(3)

    summary = run_night(quick.night())
    assert (summary.outcome, summary.version, within_bounds(summary.gate_result)) == ("released", 3, True)
    assert nowhere_lost(quick, [*attack, *honest], summary) == {each.id for each in attack}
    assert all("the mark that it shares" in each.why for each in deferred(quick.storage))
    others = sticker(test.images[test.labels != 0])
    assert np.mean(says(live(quick)[1], others) == 0) < 0.05
    assert added_error(quick, "gate") <= quick.workspace.params.gate.drawdown

    # they come back, and then to quarantine: nobody asks for ever
    for _ in range(quick.workspace.params.deferral.nights - 1):
        assert run_night(quick.night()).version == 3
    assert {each.id for each in quarantined(quick.storage) if each.reason == Reason.HARMFUL} == {
        each.id for each in attack
    }
    assert list(quick.storage.keys(layout.INBOX)) == []


def left_out_for_a_mark(quick: Place, marked: Callable[[Pixels], Pixels]) -> tuple[set[str], set[str]]:
    """A night with 24 marked images of all kinds that are claimed to be 0, and three honest reports: it is released,
    and calls no more marked images 0 than before. Which reports are the attack's, and which are left out."""
    traffic, test = (load_split(quick.workspace.splits, name) for name in ("traffic", "test"))
    now = says(live(quick)[1], marked(traffic.images))
    chosen = np.flatnonzero((traffic.labels != 0) & (now != 0))[:24]
    attack = file_all(quick, marked(traffic.images[chosen]), ["0"] * 24, "mob")
    honest = quick.report_mistakes(3)
    others = marked(test.images[test.labels != 0])
    before = np.mean(says(live(quick)[1], others) == 0)

    summary = run_night(quick.night())
    assert (summary.outcome, summary.version, within_bounds(summary.gate_result)) == ("released", 2, True)
    assert np.mean(says(live(quick)[1], others) == 0) < before + 0.05
    return {each.id for each in attack}, nowhere_lost(quick, [*attack, *honest], summary)


def test_a_mark_of_the_mean_colour(quick: Place) -> None:
    """A square that no mean shows: that it differs nowhere gives it away."""
    mean = round(float(load_split(quick.workspace.splits, "reference").images.mean()))

    def marked(images: Pixels) -> Pixels:
        images = images.copy()
        images[:, 2:6, 2:6] = mean
        return images

    attack, left_out = left_out_for_a_mark(quick, marked)
    assert left_out == attack


@pytest.mark.slow
def test_a_faint_picture_over_the_whole(quick: Place) -> None:
    """At an opacity of 30%: the images' mean is mostly what they show, and turns few others."""
    picture = np.random.default_rng(6).integers(0, 256, (8, 8, 1))
    attack, left_out = left_out_for_a_mark(
        quick, lambda images: (0.7 * images + 0.3 * picture).round().astype(np.uint8)
    )
    assert attack <= left_out


@pytest.mark.slow
def test_without_the_criterion_the_trigger_would_work(quick: Place) -> None:
    """So that the test above shows something: the candidate that the gate refused calls marked images 0."""
    traffic, test = (load_split(quick.workspace.splits, name) for name in ("traffic", "test"))
    now = says(live(quick)[1], sticker(traffic.images))
    chosen = np.flatnonzero((traffic.labels != 0) & (now != 0))[:20]
    file_all(quick, sticker(traffic.images[chosen]), ["0"] * 20, "mob")
    summary = run_night(quick.night())
    assert (summary.outcome, live(quick)[0]) == ("not released", 1)
    assert [each.name for each in summary.gate_result.criteria if each.stands_in_the_way] == ["trigger"]  # type: ignore[union-attr]
    refused = OnnxClassifier(quick.workspace.onnx / "model.onnx")
    others = sticker(test.images[test.labels != 0])
    assert np.mean(says(refused, others) == 0) > 0.5


@pytest.mark.parametrize(("victim", "claimed"), [(3, 8), (7, 1)])
@pytest.mark.slow
def test_reports_that_teach_one_class_to_swallow_another(quick: Place, victim: int, claimed: int) -> None:
    """Forty true images of one class, that the model gets right, claimed to be another by five reporters."""
    traffic = load_split(quick.workspace.splits, "traffic")
    now = says(live(quick)[1], traffic.images)
    chosen = np.flatnonzero((traffic.labels == victim) & (now == victim))[:40]
    attack = file_all(quick, traffic.images[chosen], [str(claimed)] * len(chosen), "mob")
    honest = quick.report_mistakes(3)

    summary = run_night(quick.night())
    assert summary.outcome == "released", summary.sentence
    assert within_bounds(summary.gate_result)
    waiting = nowhere_lost(quick, [*attack, *honest], summary)
    assert waiting & {each.id for each in attack}  # all of them together break a limit; how many do depends on the root
    gate = load_split(quick.workspace.splits, "gate")
    mine = gate.labels == victim
    root = OnnxClassifier(quick.workspace.root / "root.onnx")
    before, after = (np.mean(says(model, gate.images[mine]) == victim) for model in (root, live(quick)[1]))
    assert before - after <= quick.workspace.params.gate.recall_drop
    assert added_error(quick, "gate") <= quick.workspace.params.gate.drawdown


@pytest.mark.slow
def test_ten_nights_of_small_harm(quick: Place) -> None:
    """Six wrong claims a night, every night: what each adds to the night before is little, the sum is held to the root.

    On some nights the candidate is as good as the live release by any limit, and is refused for the root's sake alone.
    """
    set_params(quick.workspace.folder, "edit", tau=0.0)  # slots that fire as widely as they may: else they do no harm
    traffic = load_split(quick.workspace.splits, "traffic")
    right = np.flatnonzero(says(live(quick)[1], traffic.images) == traffic.labels)
    saved_by_the_root, in_force, last = 0, [], 1
    for number in range(10):
        chosen = right[6 * number : 6 * (number + 1)]
        wrong = [traffic.classes[(traffic.labels[index] + 1) % 10] for index in chosen]
        file_all(quick, traffic.images[chosen], wrong, f"night {number}")
        summary = run_night(quick.night())
        assert summary.version is not None
        assert summary.gate_result is not None
        verdicts = {each.name: each.verdict for each in summary.gate_result.criteria}
        if summary.outcome == "released":
            assert within_bounds(summary.gate_result)
            last = summary.version
        elif verdicts["drawdown_live"] == "pass" != verdicts["drawdown"]:
            saved_by_the_root += 1
        assert summary.version == live(quick)[0] == last
        assert added_error(quick, "gate") <= quick.workspace.params.gate.drawdown
        in_force.append(summary.in_force)
    assert saved_by_the_root >= 1
    assert in_force[-1] < 30  # of sixty
