"""A whole night whose corrections share a concept, and what undoes it: a kind dissolved, a correction withdrawn."""

import numpy as np
import pytest
from typer.testing import CliRunner

from errata.data.datasets import LabelledImages
from errata.data.images import Pixels, encode_png, pixel_digest
from errata.data.releases.kind_inputs import label_image
from errata.data.reports import file_report
from errata.data.splits import load_split
from errata.editing.metrics import predicted_classes
from errata.editing.model import load_model
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.cli.app import app
from errata.flows.cli.camera import through_bad_camera
from errata.flows.cli.demo import error, live_classifier
from errata.flows.night.run import run_night
from errata.flows.releases.kinds import live_kinds
from errata.flows.releases.retraction import retract
from tests.flows.conftest import Place, set_params

CONCEPT = {"most": 0, "concept": {"most": 1}}  # no kind of image is looked for


def seen_unusually(place: Place, name: str) -> LabelledImages:
    """A split in an unusual setting: it moves features as well as the statistics that kinds of image look at."""
    split = load_split(place.workspace.splits, name)
    return LabelledImages(through_bad_camera(split.images), split.labels, split.classes)


def classes(classifier: OnnxClassifier, images: Pixels) -> np.ndarray:
    """What a file says of images."""
    return predicted_classes(classifier.predict(images).logits)


@pytest.mark.slow
def test_a_concept_is_mended_dissolved_and_restored_without_one_correction(quick: Place) -> None:
    set_params(quick.workspace.folder, "edit", kind=CONCEPT)
    traffic, unseen = seen_unusually(quick, "traffic"), seen_unusually(quick, "test")
    ordinary = load_split(quick.workspace.splits, "test").images
    reported, version, root = len(traffic) // 2, *live_classifier(quick.storage)
    predicted = classes(root, traffic.images)
    wrong = [int(one) for one in np.flatnonzero(predicted != traffic.labels) if one < reported]
    for one in wrong:
        file_report(
            quick.storage,
            encode_png(traffic.images[one]),
            traffic.classes[traffic.labels[one]],
            predicted=traffic.classes[predicted[one]],
            model_version=version,
        )
    for image, label in zip(traffic.images[reported:], traffic.labels[reported:], strict=True):
        label_image(quick.storage, pixel_digest(image), image, traffic.classes[label], "a person")

    assert run_night(quick.night()).outcome == "released"
    mended = live_classifier(quick.storage)[1]
    (kind,) = live_kinds(quick.storage).used_kinds
    assert kind.concept and kind.name.startswith("concept ") and kind.fitted and kind.held_out
    assert kind.corrections <= {pixel_digest(traffic.images[one]) for one in wrong}
    assert error(mended, unseen) < 0.8 * error(root, unseen)
    assert (classes(mended, ordinary) == classes(root, ordinary)).mean() > 0.97
    model = load_model(quick.workspace.candidate)
    assert model.kinds is not None and (model.kinds.spec.images, model.kinds.spec.concepts) == (0, 1)

    words = ["kinds", "dissolve", kind.name, "--why", "two cameras", "--store", quick.storage.url]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert run_night(quick.night()).outcome == "released"
    (dissolved,) = (each for each in live_kinds(quick.storage).kinds if each.name == kind.name)
    assert (dissolved.kind, dissolved.why) == (-1, "a person dissolved it")
    model, without = load_model(quick.workspace.candidate), live_classifier(quick.storage)[1]
    assert model.kinds is None
    fires = without.predict(unseen.images).slot >= 0
    assert (classes(without, unseen.images) == classes(root, unseen.images))[~fires].all()

    words = ["kinds", "restore", kind.name, "--why", "one camera", "--store", quick.storage.url]
    assert CliRunner().invoke(app, words).exit_code == 0
    gone = kind.fitted[0]
    retract(quick.storage, gone, by="ann", why="it shows something else")
    assert run_night(quick.night()).outcome == "released"
    (again,) = live_kinds(quick.storage).used_kinds
    assert again.concept and gone not in again.corrections
    assert len(again.corrections & kind.corrections) > 0.9 * len(kind.corrections)
    assert error(live_classifier(quick.storage)[1], unseen) < 0.8 * error(root, unseen)
