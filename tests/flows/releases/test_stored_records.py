"""Files of a release that was made before these records had types: each is read, and written again to the byte."""

import json
from pathlib import Path

import pytest

from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.ledger import Ledger
from errata.data.splits import load_split, splits_digest
from errata.editing.errors import Damaged
from errata.flows.gate.measurements import GateMeasurements
from errata.flows.releases.decision import Decision

STORED = Path(__file__).parent / "stored"


def content(name: str) -> bytes:
    return (STORED / name).read_bytes()


def test_their_bytes_are_the_same() -> None:
    assert EditRecord.from_json(content("edit.json")).to_json() == content("edit.json")
    evaluation = json.loads(Evaluation.from_json(content("evaluation.json")).to_json())
    assert evaluation == {**json.loads(content("evaluation.json")), "slices": []}  # which it did not have yet
    assert Decision.from_json(content("decision.json"), "it").to_json() == content("decision.json")
    assert Ledger.from_jsonl(content("ledger.jsonl").decode()).to_jsonl().encode() == content("ledger.jsonl")


def test_a_gate_without_its_confidence_is_read() -> None:
    found = GateMeasurements.from_json(content("gate.json"))
    assert found.confidence is None
    again = json.loads(found.to_json())
    before = json.loads(content("gate.json"))
    assert {name: again[name] for name in before if name != "criteria"} == {
        name: before[name] for name in before if name != "criteria"
    }
    for name, row in before["criteria"].items():
        assert again["criteria"][name] == {**row, "not_applicable": "", "sample": None}
    assert {each.verdict for each in found.gate_result.criteria} == {"pass"}
    assert found.gate_result.missing == ("slice_flips",)  # a criterion that there was not: it does not look measured


def test_the_splits_are_known_by_the_same_digest(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_bytes(content("splits.json"))
    assert splits_digest(tmp_path) == GateMeasurements.from_json(content("gate.json")).splits
    wrong = json.loads(content("splits.json"))
    wrong["splits"]["gate"]["images"] = "350"
    (tmp_path / "splits.json").write_text(json.dumps(wrong))
    with pytest.raises(Damaged, match=r"splits\.gate\.images"):
        load_split(tmp_path, "gate")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "1"),
        ("number", 0),
        ("action", "forgotten"),
        ("reports", "r"),
        ("by", None),
        ("format", "x"),
        ("a", 1),
    ],
)
def test_a_decision_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(Damaged, match=name):
        Decision.from_json(json.dumps({**json.loads(content("decision.json")), name: value}).encode(), "it")
