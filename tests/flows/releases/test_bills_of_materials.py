"""SBOM and model card: valid by the specification's own schema, and true to what was installed and measured."""

import json
from importlib.metadata import version
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from errata.data import layout
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.data.splits import SplitEntry, SplitsRecord
from errata.editing.model import ModelSpec
from errata.flows.releases.contents.bundle import MODEL_CARD, build_bundle
from errata.flows.releases.contents.model_card import model_card
from errata.flows.releases.contents.sbom import environment_sbom
from tests.flows.conftest import Place
from tests.flows.releases.test_report import HOSTILE, a_release

SPEC = ModelSpec("resnet", ("cat", HOSTILE), (8, 8, 3), (0.4,) * 3, (0.3,) * 3, {})


def checked(content: bytes) -> Any:
    """The document, once the schema takes it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(content.decode()) is None
    return json.loads(content)


def values(document: Any, name: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in document[name]}


@pytest.fixture
def card() -> Any:
    files, _ = a_release()
    splits = SplitsRecord({"train": SplitEntry(3, "7" * 64), "gate": SplitEntry(5, "8" * 64)}, "errata-splits/1")
    return checked(model_card({**files, "replay.jsonl": b"{}\n"}, SPEC, splits, "9" * 64))


def test_the_card_says_what_was_measured_and_what_was_not(card: Any) -> None:
    model = card["metadata"]["component"]
    metrics = {
        (each["type"], each["slice"]): each for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert metrics["accuracy", "n = 5"]["value"] == "0.6"
    assert metrics["accuracy", "n = 5"]["confidenceInterval"] == {"lowerBound": "0.5"}
    assert metrics["drawdown", "n = 5"]["confidenceInterval"] == {"upperBound": "0.01"}
    assert metrics["generalization", "not measured"] == {"type": "generalization", "slice": "not measured"}
    assert metrics["error rate", "gate split"]["value"] == "0.4"
    assert metrics["error rate of the root", "gate split"]["value"] == "0.6"
    assert metrics["recall", "class cat, n = 2"]["value"] == "0.5"  # counted by hand in test_report
    said = values(model["modelCard"], "properties")
    assert said["errata:gate:accuracy"] == "fail, at least 0.85"
    assert said["errata:gate:generalization"] == "inconclusive, at least 0.5"
    assert "97.5% confidence" in " ".join(model["modelCard"]["considerations"]["technicalLimitations"])
    assert model["hashes"] == [{"alg": "SHA-256", "content": "e" * 64}]


def test_the_card_names_each_data_set_by_its_digest(card: Any) -> None:
    found = {each["bom-ref"]: each for each in card["components"]}
    datasets = [each["ref"] for each in card["metadata"]["component"]["modelCard"]["modelParameters"]["datasets"]]
    assert datasets == ["train.npz", "gate.npz", "ledger.jsonl", "replay.jsonl"]
    assert found["train.npz"]["hashes"] == [{"alg": "SHA-256", "content": "7" * 64}]
    assert values(found["root"], "properties") == {"errata:root": "9" * 64}


def test_a_release_carries_both_and_the_card_alone_is_in_its_digest(place: Place) -> None:
    found = read_live(place.storage)
    assert found is not None
    manifest = read_manifest(place.storage, 1)
    card = checked(read_file(place.storage, manifest, MODEL_CARD))
    model = manifest.files[layout.model_file(1)].sha256
    assert card["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": model}]
    assert build_bundle(place.workspace).manifest.digest == found[0].manifest_sha256
    assert layout.SBOM not in manifest.files
    sbom = place.storage.get(layout.release_file(1, layout.SBOM))
    assert {each["name"]: each["version"] for each in checked(sbom)["components"]}["torch"] == version("torch")


@pytest.mark.slow
def test_the_sbom_names_what_is_installed_and_repeats() -> None:
    document = checked(environment_sbom())
    found = {each["name"]: each for each in document["components"]}
    for name in ("numpy", "onnxruntime", "cryptography"):
        assert found[name]["purl"] == f"pkg:pypi/{name}@{version(name)}"
    assert "purl" not in found["errata-models"]  # it is installed from here
    (needed,) = [each["dependsOn"] for each in document["dependencies"] if each["ref"].startswith("pandas==")]
    assert f"numpy=={version('numpy')}" in needed
    assert environment_sbom.__wrapped__() == environment_sbom()
