"""The queue goes to FiftyOne and comes back as a person's reports, as its own library reads and writes it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from errata.data import layout
from errata.data.images import decode_image
from errata.data.reports import parse_report
from tests.flows.cli.review.conftest import CLAIMED, CLASSES, OTHER, Desk, Typed, TypeErrata, predicted
from tests.serving.releases import IMAGES


@pytest.fixture
def typed(type_errata: TypeErrata) -> Typed:
    """Types `errata fiftyone`."""
    return type_errata("fiftyone")


def decided(folder: Path, *samples: dict[str, Any]) -> None:
    """Write what FiftyOne exports: its own identities and types in every sample, and empty fields as null."""
    folder.mkdir(exist_ok=True)
    oid = {"$oid": "673f1c2a9b1d8e0001a2b3c4"}
    common: dict[str, Any] = {"_id": oid, "_dataset_id": oid, "_media_type": "image", "tags": [], "decision": None}
    content = {"samples": [{**common, "filepath": "data/x.png", **sample} for sample in samples]}
    (folder / "samples.json").write_text(json.dumps(content))


def test_the_queue_goes_there_and_comes_back_as_reports(desk: Desk, typed: Any, tmp_path: Path) -> None:
    report = desk.claim(9, CLAIMED, "bob", "José", doubt=0.125)
    assert typed("export", "queue").exit_code == 0
    assert "is there already" in str(typed("export", "queue").exception)
    (sample,) = json.loads((tmp_path / "queue" / "samples.json").read_text())["samples"]
    assert "version" not in json.loads((tmp_path / "queue" / "metadata.json").read_text())
    assert np.array_equal(decode_image((tmp_path / "queue" / sample["filepath"]).read_bytes())[:, :, :1], IMAGES[9])
    assert (sample["claim"]["label"], sample["prediction"]["label"]) == (CLAIMED, predicted(9))
    assert (sample["said_by"], sample["doubt"], sample["errata_image"]) == ("José, bob", 0.125, report.image)

    label: dict[str, Any] = {
        "_id": {"$oid": "673f1c2a9b1d8e0001a2b3c5"},
        "_cls": "Classification",
        "tags": [],
        "confidence": None,
    }
    image = {"errata_image": report.image}
    folder = tmp_path / "decided"
    decided(folder, {**image, "decision": {**label, "label": OTHER}}, {**image, "tags": ["looked at"]})
    for _ in range(2):  # twice is once
        assert typed("import", "decided", "--reporter", "ann@example.org").exit_code == 0
    decided(folder, {**image, "tags": ["looked at", f"is:{CLAIMED}"]})
    assert typed("import", "decided", "--reporter", "Grace").exit_code == 0
    found = [parse_report(desk.storage.get(key)) for key in desk.storage.keys(layout.INBOX)]
    assert sorted((each.reporter, each.expected) for each in found if each.image == report.image) == sorted(
        [("bob", CLAIMED), ("José", CLAIMED), ("ann@example.org", OTHER), ("Grace", CLAIMED)]
    )


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"errata_image": "../live.json"}, "errata_image"),
        ({}, "errata_image"),
        ({"errata_image": "a" * 64, "tags": ["is:class 1", "is:class 2"]}, "class 1 and class 2; leave one"),
        ({"errata_image": "a" * 64, "tags": ["is:clas 1"]}, "did you mean 'class 1'"),
        ({"errata_image": "a" * 64, "tags": ["is:class 1"]}, "a" * 64),
    ],
)
def test_one_wrong_sample_files_none(desk: Desk, typed: Any, tmp_path: Path, sample: dict[str, Any], said: str) -> None:
    report = desk.claim(9, CLAIMED)
    decided(tmp_path / "decided", {"errata_image": report.image, "tags": [f"is:{OTHER}"]}, sample)
    assert said in str(typed("import", "decided").exception)
    assert list(desk.storage.keys(layout.INBOX)) == [layout.inbox_report(report.id)]


def test_what_is_no_export_is_refused(typed: Any, tmp_path: Path) -> None:
    assert "No such file" in str(typed("import", "nowhere").exception)
    (tmp_path / "samples.json").write_text("{")
    assert "is not JSON" in str(typed("import", ".").exception)


@pytest.mark.slow
def test_fiftyones_own_library_reads_it_and_writes_what_is_read_back(desk: Desk, typed: Any, tmp_path: Path) -> None:
    """Without its database: by the importer that `Dataset.from_dir` hands such a folder to, and as documents."""
    library = pytest.importorskip("fiftyone", reason="pip install fiftyone")
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    for image in (9, 7):
        desk.claim(image, next(name for name in CLASSES if name != predicted(image)), "bob", doubt=0.125)
    typed("export", "queue")
    importer = importers.FiftyOneDatasetImporter(str(tmp_path / "queue"))
    assert importer._is_legacy_format_data()
    with importer._to_legacy_importer() as legacy:
        first, second = samples = list(legacy)
        assert legacy.get_dataset_info()["classes"] == list(CLASSES)
    assert {Path(sample.filepath).is_file() for sample in samples} == {True}
    assert sorted(sample.prediction.label for sample in samples) == sorted(predicted(image) for image in (9, 7))
    first["decision"] = library.Classification(label=OTHER)
    second.tags.append(f"is:{OTHER}")
    documents = {"samples": [sample.to_mongo_dict(include_id=True) for sample in samples]}
    (tmp_path / "decided").mkdir()
    (tmp_path / "decided" / "samples.json").write_text(pytest.importorskip("bson.json_util").dumps(documents))
    assert typed("import", "decided", "--reporter", "ann").exit_code == 0
    found = [parse_report(desk.storage.get(key)) for key in desk.storage.keys(layout.INBOX)]
    mine = {(each.image, each.expected) for each in found if each.reporter == "ann"}
    assert mine == {(first.errata_image, OTHER), (second.errata_image, OTHER)}


@pytest.mark.skipif("FIFTYONE_DATABASE_URI" not in os.environ, reason="needs a MongoDB: FIFTYONE_DATABASE_URI")
def test_a_data_set_goes_through_its_database(desk: Desk, typed: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("fiftyone", reason="pip install fiftyone")
    for image in (9, 7):
        desk.claim(image, next(name for name in CLASSES if name != predicted(image)), "bob", doubt=0.125)
    typed("export", "queue")
    dataset = library.Dataset.from_dir("queue", library.types.FiftyOneDataset)
    first, second = dataset
    assert (first.claim.label, first.doubt, first.said_by) == (CLAIMED, 0.125, "bob")
    first["decision"] = library.Classification(label=OTHER)
    second.tags.append(f"is:{OTHER}")
    for sample in (first, second):
        sample.save()
    dataset.export("decided", library.types.FiftyOneDataset, export_media=False)
    assert typed("import", "decided", "--reporter", "ann").exit_code == 0
    found = [parse_report(desk.storage.get(key)) for key in desk.storage.keys(layout.INBOX)]
    mine = {(each.image, each.expected) for each in found if each.reporter == "ann"}
    assert mine == {(first.errata_image, OTHER), (second.errata_image, OTHER)}
