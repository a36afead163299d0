"""The model card of a release as CycloneDX 1.6 (ML-BOM), `mlbom.cdx.json`: what it is made of, and what was measured.

Part of the bundle, so it is a function of root, ledger and parameters alone: every number is one of gate.json or
evaluation.json, every digest one that the release rests on. No library makes model cards; a test holds this one against
the specification's schema (https://cyclonedx.org/docs/1.6/json/).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from errata.data.records import canonical_json
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.manifest import sha256
from errata.data.releases.replay import NAME as REPLAY
from errata.data.splits import SplitsRecord
from errata.editing.model import ModelSpec
from errata.flows.gate.criterion import Criterion
from errata.flows.gate.measurements import GateMeasurements

USES = {
    "train": "the root was trained on it",
    "reference": "edits are fitted to it",
    "calibration": "thresholds are set on it",
    "gate": "the release was decided on it",
    "test": "reported, nothing is decided on it",
    "traffic": "unlabelled, reach is measured on it",
    "sealed": "kept apart: whether the gate split was selected by is asked of it",
    "retired": "earlier releases were decided on it",
}
LEDGERS = {
    "ledger.jsonl": "the corrections that the release holds: images by digest, and their classes",
    REPLAY: "corrections that the root was taught beside its training data",
}


def model_card(files: Mapping[str, bytes], spec: ModelSpec, splits: SplitsRecord, root: str) -> bytes:
    """The document, from the ledgers, gate.json and evaluation.json in `files`; `root` is the root's digest."""
    measured = GateMeasurements.from_json(files["gate.json"])
    data = [
        *(
            _component(f"{name}.npz", "data", f"{each.images} images; {USES.get(name, name)}", each.sha256)
            for name, each in splits.splits.items()
        ),
        *(_component(name, "data", what, sha256(files[name])) for name, what in LEDGERS.items()),
    ]
    corrected = f"{measured.corrections} reported mispredictions corrected by an edit of the root's weights"
    model = _component("classifier", "machine-learning-model", corrected, measured.model) | {
        "version": str(measured.version),
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "image classification",
                "modelArchitecture": spec.architecture,
                "datasets": [{"ref": each["bom-ref"]} for each in data],
                "inputs": [{"format": f"uint8 [batch, {', '.join(map(str, spec.image_shape))}], images as decoded"}],
                "outputs": [
                    {"format": f"float32 [batch, {len(spec.classes)}], logits"},
                    {"format": f"float32 [batch, {len(spec.classes)}], probabilities"},
                    {"format": "int64 [batch], the slot that decided"},
                ],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": _metrics(measured, Evaluation.from_json(files["evaluation.json"]))
            },
            "considerations": _considerations(measured, spec),
            "properties": [
                {"name": f"errata:gate:{each.name}", "value": f"{each.verdict}, {each.direction} {each.limit}"}
                for each in measured.rows
            ],
        },
    }
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"component": model},
            "components": [
                {
                    "bom-ref": "root",
                    "type": "machine-learning-model",
                    "name": "root",
                    "properties": [{"name": "errata:root", "value": root}],  # of a folder, so no file's hash
                },
                *data,
            ],
            "dependencies": [{"ref": "classifier", "dependsOn": ["root", *(each["bom-ref"] for each in data)]}],
        }
    )


def _component(name: str, kind: str, description: str, digest: str) -> dict[str, Any]:
    return {
        "bom-ref": name,
        "type": kind,
        "name": name,
        "description": description,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _metrics(measured: GateMeasurements, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The gate's rows with their bounds, error rates before and after, and the recall of each class."""
    rates = {"gate": measured.error.gate, "test": measured.error.test}
    return [
        *map(_metric, measured.rows),
        *({"type": "error rate", "value": str(each.after), "slice": f"{name} split"} for name, each in rates.items()),
        *(
            {"type": "error rate of the root", "value": str(each.before), "slice": f"{name} split"}
            for name, each in rates.items()
        ),
        *(
            {"type": "recall", "value": str(each.right_after / each.n), "slice": f"class {each.name}, n = {each.n}"}
            for each in evaluation.classes
        ),
    ]


def _metric(row: Criterion) -> dict[str, Any]:
    """A criterion and its one-sided bound; one that was not measured has no value, and says so."""
    if not math.isfinite(row.value):
        why = f"not applicable: {row.not_applicable}" if row.verdict == "not applicable" else "not measured"
        return {"type": row.name, "slice": why}
    metric: dict[str, Any] = {"type": row.name, "value": str(row.value), "slice": f"n = {row.n}"}
    if math.isfinite(row.bound):
        side = "upperBound" if row.direction == "at most" else "lowerBound"
        metric["confidenceInterval"] = {side: str(row.bound)}
    return metric


def _considerations(measured: GateMeasurements, spec: ModelSpec) -> dict[str, Any]:
    error = measured.error.gate
    return {
        "useCases": [f"one of {len(spec.classes)} classes for an image: {', '.join(spec.classes)}"],
        "technicalLimitations": [
            "the numbers are of control images, drawn as the data set was; of other images nothing was measured",
            "a correction was shown to hold for its image and augmented views of it, whose share is `generalization`",
            "each bound holds by itself, as of a single look at the gate split"
            + ("" if measured.confidence is None else f", one-sided, at {100 * measured.confidence:g}% confidence"),
        ],
        "performanceTradeoffs": [f"error rate on the gate split {error.after} instead of the root's {error.before}"],
    }
