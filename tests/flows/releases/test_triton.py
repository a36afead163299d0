"""The bundle as inference clients take it: a Triton model repository, and deltas against the root as it shipped."""

import importlib.util
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format  # type: ignore[import-untyped]
from typer.testing import CliRunner

from errata.data import layout
from errata.data.releases.manifest import read_file, read_manifest, read_model
from errata.editing.errors import DataError
from errata.editing.model import ModelSpec
from errata.editing.onnx.classifier import OUTPUTS, OnnxClassifier
from errata.editing.onnx.delta import apply_delta
from errata.editing.onnx.file import parse_onnx
from errata.flows.cli.app import app
from errata.flows.night.candidate import run_pipeline, write_candidate_ledger
from errata.flows.night.collect import collect
from errata.flows.night.parent import sync
from errata.flows.night.step import run_here
from errata.flows.releases.contents.bundle import build_bundle, publish
from errata.flows.releases.contents.triton import MAX_BATCH, labels, triton_config
from tests.flows.conftest import Place

SPEC = ModelSpec("resnet", ("cat", 'a "quoted" dog', "köter"), (8, 6, 3), (0.4,) * 3, (0.3,) * 3, {}, 4)
FIELD = descriptor_pb2.FieldDescriptorProto

# What Triton's documented ModelConfig has of the fields that we write: message -> field -> (number, type, repeated).
DOCUMENTED: dict[str, dict[str, tuple[int, Any, bool]]] = {
    "Reshape": {"shape": (1, FIELD.TYPE_INT64, True)},
    "Batching": {},
    "Input": {
        "name": (1, FIELD.TYPE_STRING, False),
        "data_type": (2, ".DataType", False),
        "dims": (4, FIELD.TYPE_INT64, True),
        "reshape": (5, ".Reshape", False),
    },
    "Output": {
        "name": (1, FIELD.TYPE_STRING, False),
        "data_type": (2, ".DataType", False),
        "dims": (3, FIELD.TYPE_INT64, True),
        "label_filename": (4, FIELD.TYPE_STRING, False),
        "reshape": (5, ".Reshape", False),
    },
    "ModelConfig": {
        "name": (1, FIELD.TYPE_STRING, False),
        "max_batch_size": (4, FIELD.TYPE_INT32, False),
        "input": (5, ".Input", True),
        "output": (6, ".Output", True),
        "dynamic_batching": (11, ".Batching", False),
        "backend": (17, FIELD.TYPE_STRING, False),
    },
}
DATA_TYPES = {"TYPE_UINT8": 2, "TYPE_INT64": 9, "TYPE_FP32": 11}


def documented_schema() -> Any:
    """The messages above, so that protobuf's own parser reads the configuration."""
    file = descriptor_pb2.FileDescriptorProto(name="documented.proto", syntax="proto3")
    kinds = file.enum_type.add(name="DataType")
    for name, number in {"TYPE_INVALID": 0, **DATA_TYPES}.items():
        kinds.value.add(name=name, number=number)
    for message, fields in DOCUMENTED.items():
        made = file.message_type.add(name=message)
        for name, (number, kind, repeated) in fields.items():
            field = made.field.add(name=name, number=number)
            field.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type_name = kind
                field.type = FIELD.TYPE_ENUM if kind == ".DataType" else FIELD.TYPE_MESSAGE
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ModelConfig"))


def tritons_schema() -> Any:
    """Triton's own, from its client package, where that is installed."""
    found = importlib.util.find_spec("tritonclient")
    if found is None or not found.submodule_search_locations:
        pytest.skip("tritonclient is not installed; its pins contradict ours")
    path = Path(found.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelConfig


@pytest.mark.parametrize("schema", [documented_schema, tritons_schema])
def test_triton_reads_what_the_model_has(schema: Any) -> None:
    config = text_format.Parse(triton_config(SPEC), schema()())
    assert [each.name for each in config.output] == list(OUTPUTS)
    assert (config.name, config.backend, config.max_batch_size) == ("classifier", "onnxruntime", MAX_BATCH)
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("images", DATA_TYPES["TYPE_UINT8"], [8, 6, 3])
    ]
    assert [(each.name, each.data_type, list(each.dims), each.label_filename) for each in config.output] == [
        ("logits", DATA_TYPES["TYPE_FP32"], [3], ""),
        ("probabilities", DATA_TYPES["TYPE_FP32"], [3], "labels.txt"),
        ("slot", DATA_TYPES["TYPE_INT64"], [1], ""),
    ]
    assert [(each.HasField("reshape"), list(each.reshape.shape)) for each in config.output] == [
        (False, []),
        (False, []),
        (True, []),
    ]
    assert config.HasField("dynamic_batching")


def test_triton_finds_the_outputs_of_a_root_that_was_exported_before_they_were_renamed() -> None:
    older = ("logits", "probabilities", "correction")
    config = text_format.Parse(triton_config(SPEC, older), documented_schema()())
    assert [each.name for each in config.output] == list(older)
    assert config.output[2].HasField("reshape")


def test_labels_are_lines() -> None:
    assert labels(SPEC).splitlines() == list(SPEC.classes)
    for name in ("two\nlines", "", "two\u2028lines"):
        with pytest.raises(DataError):
            labels(ModelSpec("resnet", ("a", name), (8, 8, 1), (0.4,), (0.3,), {}))


@pytest.mark.slow  # a night more: DVC runs the stages
def test_a_release_is_a_repository_and_a_delta_of_the_root_that_shipped(place: Place, tmp_path: Path) -> None:
    place.report_mistakes(3)
    at_night, storage = place.night(), place.storage
    parent = sync(at_night)
    write_candidate_ledger(at_night, parent, collect(at_night, parent), 2)
    run_pipeline(at_night, run_here)
    publish(storage, build_bundle(place.workspace))  # whatever the gate says: this is about the files
    first, second = (read_manifest(storage, version) for version in (1, 2))
    root, release = read_model(storage, first), read_model(storage, second)
    patch = read_file(storage, second, layout.DELTA)

    # the root as release 1 shipped it, not as the workspace keeps it
    assert (place.workspace.root / "root.onnx").read_bytes() != root
    assert apply_delta(root, patch) == release
    for name, content in (("root.onnx", root), ("patch", patch)):
        (tmp_path / name).write_bytes(content)
    words = ["apply", *(str(tmp_path / name) for name in ("root.onnx", "patch", "out.onnx")), "--json"]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0, said.output
    assert (tmp_path / "out.onnx").read_bytes() == release
    assert json.loads(said.stdout)["sha256"] == second.files[layout.model_file(2)].sha256
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["out.onnx", "root.onnx"]

    # Triton takes every folder of a repository for a model, and a model's numbered folders for its versions
    for manifest in (first, second):
        names = {name for name in manifest.files if "/" in name}
        assert names == {layout.model_file(manifest.version), layout.TRITON_CONFIG, layout.LABELS}
        assert PurePosixPath(layout.model_file(manifest.version)).parts == (
            "classifier",
            str(manifest.version),
            "model.onnx",
        )
        config = text_format.Parse(read_file(storage, manifest, layout.TRITON_CONFIG), documented_schema()())
        assert tuple(config.input[0].dims) == OnnxClassifier(release).image_shape
        outputs = parse_onnx(read_model(storage, manifest)).graph.output
        assert [each.name for each in config.output] == [each.name for each in outputs]

    # every correction of edit.json that has a slot is in the ledger
    slots = json.loads(read_file(storage, second, "edit.json"))["slots"]
    ledger = read_file(storage, second, "ledger.jsonl").decode()
    assert slots
    assert all(slot["key"] in ledger for slot in slots)
