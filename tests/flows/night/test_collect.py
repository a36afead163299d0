"""From the inbox to what was agreed on: nobody tunes the judge, and nobody's word counts twice."""

import numpy as np
import pytest
from numpy.typing import NDArray

from errata.data.datasets import LabelledImages, load_dataset
from errata.data.images import Pixels, encode_png, pixel_digest
from errata.data.inbox.claim import Claim
from errata.data.inbox.refusals import Reason
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.editing.errors import DataError
from errata.flows.night.collect import collect
from errata.flows.night.doubts import DoubtEstimator
from errata.flows.night.parent import sync
from tests.data.conftest import NOON
from tests.flows.conftest import Place, set_trust

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def test_an_image_that_judges_releases_cannot_be_reported(place: Place) -> None:
    gate = load_split(place.workspace.splits, "gate")
    for index in range(3):
        image = np.clip(gate.images[index].astype(int) + index, 0, 255).astype(np.uint8)  # equal, and brightened a bit
        wrong = gate.classes[(gate.labels[index] + 1) % len(gate.classes)]
        file_report(place.storage, encode_png(image), wrong)
    tonight = place.night()
    found = collect(tonight, sync(tonight))
    assert found.corrections == ()
    assert [each.reason for each in found.refused] == [Reason.CONTROL_IMAGE] * 3


def test_a_quorum_waits_in_the_inbox_until_enough_people_say_the_same(place: Place) -> None:
    set_trust(place.workspace.folder, quorum=2)
    (first,) = place.report_mistakes(1)
    tonight = place.night()
    parent = sync(tonight)
    found = collect(tonight, parent)
    assert (found.corrections, found.waiting, found.refused) == ((), (first.id,), ())
    image = place.storage.get(f"images/{first.image}")
    second = file_report(place.storage, image, first.expected, predicted=first.predicted, reporter="somebody else")
    found = collect(tonight, parent)
    assert [set(each.reports) for each in found.corrections] == [{first.id, second.id}]
    assert set(found.images) == {found.corrections[0].id}


def test_a_report_that_the_live_model_does_not_bear_out_is_refused(place: Place) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    (report,) = place.report_mistakes(1)
    other = next(name for name in traffic.classes if name not in {report.expected, report.predicted})
    image = place.storage.get(f"images/{report.image}")
    unborne = file_report(place.storage, image, report.expected, predicted=other, reporter="somebody else")
    right = file_report(place.storage, image, report.predicted or "", reporter="a third")
    tonight = place.night()
    found = collect(tonight, sync(tonight))
    assert {each.report_id: each.reason for each in found.refused} == {
        unborne.id: Reason.NOT_REPRODUCIBLE,
        right.id: Reason.ALREADY_RIGHT,
    }
    assert [each.reports for each in found.corrections] == [(report.id,)]


def test_a_claim_that_is_doubted_waits_with_its_doubt_until_a_trusted_person_says_the_same(place: Place) -> None:
    set_trust(place.workspace.folder, doubt_one=0.05, doubt_two=0.08, doubt_three=0.1, trusted=["ann"])
    traffic = load_split(place.workspace.splits, "traffic")
    tonight = place.night()
    parent = sync(tonight)
    predicted = DoubtEstimator(place.workspace, parent).predict(traffic.images)
    clear = int(np.flatnonzero(predicted == traffic.labels)[0])
    wrong = traffic.classes[(traffic.labels[clear] + 1) % len(traffic.classes)]
    image = encode_png(traffic.images[clear])
    lies = {file_report(place.storage, image, wrong, reporter=name).id for name in ("mallory", "trudy")}
    found = collect(tonight, parent)
    assert found.corrections == ()
    (side,) = found.sides_waiting
    assert (set(side.reports), side.expected, side.needs, side.more) == (lies, wrong, "a trusted reporter", None)
    assert side.doubt > 0.5
    vouched = file_report(place.storage, image, wrong, reporter="Ann").id
    assert [set(each.reports) for each in collect(tonight, parent).corrections] == [{*lies, vouched}]


def claims_of(traffic: LabelledImages, predicted: Classes) -> tuple[list[Claim], NDArray[np.bool_]]:
    """A claim about each image, and whether it is right: the true class where the live model errs, else a wrong one."""
    rng, claims, true = np.random.default_rng(0), [], []
    for index, (image, label, said) in enumerate(zip(traffic.images, traffic.labels, predicted, strict=True)):
        claimed = label if label != said else (label + rng.integers(1, 10)) % 10
        name = traffic.classes[claimed]
        now = traffic.classes[said]
        claims.append(Claim(f"r{index}", "", pixel_digest(image), name, None, f"p{index}", NOON, now))
        true.append(label != said)
    return claims, np.array(true)


def doubts_of(estimator: DoubtEstimator, traffic: LabelledImages) -> tuple[Floats, NDArray[np.bool_]]:
    """The doubt of each of those claims, and which are right."""
    claims, true = claims_of(traffic, estimator.predict(traffic.images))
    doubts = estimator.doubts(claims, 0.2, {})
    return np.array([doubts[claim.correction, claim.expected] for claim in claims]), true


def test_true_claims_on_real_mistakes_are_doubted_less_than_wrong_claims_on_what_is_right(place: Place) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    found, true = doubts_of(DoubtEstimator(place.workspace, sync(place.night())), traffic)
    assert found[true].max() < np.median(found[~true])
    assert found[true].mean() < found[~true].mean() - 0.3


ASKED: list[list[str]] = []  # the images of each call


def all_knowing(images: Pixels) -> NDArray[np.float32]:
    """Stands for a second network: which digit each image of the demonstration shows."""
    digits = load_dataset("digits")
    known = {pixel_digest(image): label for image, label in zip(digits.images, digits.labels, strict=True)}
    shown = [pixel_digest(image) for image in images]
    ASKED.append([image for image in shown if image in known])  # the other is noise, which tells networks apart
    return np.eye(10, dtype=np.float32)[[known.get(image, 0) for image in shown]]


def test_a_second_network_that_sees_better_tells_right_claims_from_wrong_ones(place: Place) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    before, true = doubts_of(DoubtEstimator(place.workspace, sync(place.night())), traffic)
    set_trust(place.workspace.folder, second_opinion=f"{__name__}:all_knowing")
    ASKED.clear()
    for _ in range(2):  # its features are kept, and the same
        after, _ = doubts_of(DoubtEstimator(place.workspace, sync(place.night())), traffic)
        assert after[true].mean() < before[true].mean() / 2
        assert (after[true] < before[true]).all()
        assert after[~true].min() > after[true].max()
    asked = [image for images in ASKED for image in images]  # of few at a time, and of each image once
    assert len(asked) == len(set(asked)) > 900 and max(map(len, ASKED)) <= 256
    set_trust(place.workspace.folder, second_opinion="nowhere:nothing")
    with pytest.raises(DataError, match="second_opinion: nowhere:nothing cannot be asked"):
        DoubtEstimator(place.workspace, sync(place.night())).predict(traffic.images[:1])


def test_who_says_the_same_of_an_image_that_shows_the_same_is_heard_of_both(place: Place) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    tonight = place.night()
    estimator = DoubtEstimator(place.workspace, sync(tonight))
    index = int(np.flatnonzero(estimator.predict(traffic.images) != traffic.labels)[0])
    image = traffic.images[index]
    nearly = image.copy()
    nearly[0, 0] ^= 1  # the least that makes it another image
    now, nearly_now = (traffic.classes[said] for said in estimator.predict(np.stack([image, nearly])))
    expected = traffic.classes[traffic.labels[index]]
    one = Claim("r1", "", pixel_digest(image), expected, None, "ann", NOON, now)
    other = Claim("r2", "", pixel_digest(nearly), expected, None, "bob", NOON, nearly_now)
    alone = estimator.doubts([one], 0.2, {})[one.correction, expected]
    assert estimator.doubts([one, other], 0.2, {})[one.correction, expected] < alone / 2
