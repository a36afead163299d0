"""From the inbox to what was agreed on: nobody tunes the judge, and nobody's word counts twice."""

import numpy as np
import yaml

from data.images import encode_png
from data.refusals import Reason
from data.reports import file_report
from data.splits import load_split
from flows.night.collect import collect
from flows.night.parent import sync
from tests.flows.conftest import Place


def set_trust(place: Place, **settings: object) -> None:
    path = place.workspace.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["trust"].update(settings)
    path.write_text(yaml.safe_dump(params))


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
    set_trust(place, quorum=2)
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
