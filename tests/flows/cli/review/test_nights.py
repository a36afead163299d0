"""A night does what was decided on the page."""

import numpy as np

from errata.data.images import encode_png, pixel_digest
from errata.data.inbox.refusals import Reason
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.flows.cli.review.decide import Decided, decide
from errata.flows.cli.review.live import Desk
from errata.flows.night.collect import collect
from errata.flows.night.doubts import DoubtEstimator
from errata.flows.night.parent import sync
from tests.flows.conftest import Place, set_trust


def test_what_was_accepted_is_corrected_and_what_was_refused_goes_to_quarantine(place: Place) -> None:
    set_trust(place.workspace.folder, doubt_one=0.0, doubt_two=0.0, doubt_three=0.0, trusted=["ann"])
    traffic = load_split(place.workspace.splits, "traffic")
    tonight = place.night()
    parent = sync(tonight)
    predicted = DoubtEstimator(place.workspace, parent).predict(traffic.images)
    good, bad = (int(index) for index in np.flatnonzero(predicted == traffic.labels)[:2])
    wrong = {index: traffic.classes[(traffic.labels[index] + 1) % len(traffic.classes)] for index in (good, bad)}
    filed = {
        index: file_report(place.storage, encode_png(traffic.images[index]), wrong[index], reporter="bob")
        for index in (good, bad)
    }
    before = collect(tonight, parent)
    assert (before.corrections, set(before.waiting)) == ((), {each.id for each in filed.values()})
    desk, trust = Desk(place.storage), place.workspace.params.trust

    def say(index: int, **more: str) -> None:
        fields = {"image": filed[index].image, "expected": wrong[index], "reports": filed[index].id}
        decide(desk, trust, "Ann", Decided(**{**fields, **more}))

    say(good, action="accept")
    say(bad, action="refuse", why="blurred")
    found = collect(tonight, parent)
    assert [(each.id, each.expected) for each in found.corrections] == [
        (pixel_digest(traffic.images[good]), wrong[good])
    ]
    assert [(each.report_id, each.reason) for each in found.refused] == [(filed[bad].id, Reason.RETRACTED)]
    assert found.waiting == ()
    say(bad, action="accept")
    again = collect(tonight, parent)
    assert {each.expected for each in again.corrections} == set(wrong.values())
    assert again.refused == ()
