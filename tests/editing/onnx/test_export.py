from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from errata.editing.errors import ExportError
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.onnx.export import OnnxClassifier, export_onnx, onnx_bytes, parity, with_weights

METADATA = {"errata.version": "7", "errata.ledger": "abc"}
SPEC = ModelSpec("resnet", ("a", "b", "c"), (16, 12, 3), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), {"width": 4, "blocks": 1}, 5)


def untrained(seed: int = 0) -> EditableModel:
    torch.manual_seed(seed)
    return EditableModel.from_spec(SPEC).eval()


def pictures(n: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 12, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def patched() -> EditableModel:
    """Slot 1 fires on picture 0 alone, slots 2 and 4 on picture 3, slot 4 the stronger; slot 0 and 3 are empty."""
    model = untrained()
    with torch.no_grad():
        hidden = model.features(torch.from_numpy(pictures()))
        model.patch.fit(hidden)
        features = model.patch.directions(hidden)
        for slot, picture, strength in ((1, 0, 3.0), (2, 3, 1.0), (4, 3, 2.0)):
            direction = features[picture] - features.mean(0)
            scores = features @ direction
            others = torch.cat([scores[:picture], scores[picture + 1 :]])
            assert scores[picture] > others.max()
            model.patch.weight[slot] = direction
            model.patch.threshold[slot] = (scores[picture] + others.max()) / 2
            model.patch.value[slot, 2] = 100 * strength
    return model


@pytest.fixture(scope="module")
def exported(patched: EditableModel) -> bytes:
    return onnx_bytes(patched, METADATA)


def test_outputs_match_the_model_at_any_batch_size(patched: EditableModel, exported: bytes) -> None:
    classifier = OnnxClassifier(exported, batch=4)
    for n in (1, 4, 9):
        predictions = classifier.predict(pictures(n))
        with torch.no_grad():
            logits = patched(torch.from_numpy(pictures(n)))
        np.testing.assert_allclose(predictions.logits, logits.numpy(), rtol=1e-4, atol=1e-4)
        exponentials = np.exp(predictions.logits - predictions.logits.max(1, keepdims=True))
        np.testing.assert_allclose(predictions.probabilities, exponentials / exponentials.sum(1, keepdims=True), 1e-4)


def test_slot_is_the_one_that_decided(exported: bytes) -> None:
    slot = OnnxClassifier(exported).predict(pictures()).slot
    assert slot.dtype == np.int64
    assert slot.tolist() == [1, -1, -1, 4, -1, -1, -1, -1, -1]


def test_a_file_from_before_the_output_was_named_slot_is_read_as_well(exported: bytes) -> None:
    older = onnx.ModelProto.FromString(exported)
    last = older.graph.output[2]
    for node in older.graph.node:
        node.output[:] = ["correction" if name == last.name else name for name in node.output]
    last.name = "correction"
    before, now = (OnnxClassifier(content).predict(pictures()) for content in (older.SerializeToString(), exported))
    np.testing.assert_array_equal(before.slot, now.slot)
    np.testing.assert_array_equal(before.logits, now.logits)
    last.name = "else"
    with pytest.raises(ExportError):
        OnnxClassifier(older.SerializeToString())


def test_no_slot_of_an_unpatched_model_decides(exported: bytes) -> None:
    assert set(OnnxClassifier(with_weights(exported, untrained(), {})).predict(pictures()).slot) == {-1}


def test_an_image_at_the_mean_has_no_direction_and_fires_nothing(exported: bytes) -> None:
    model = untrained()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()  # features are zero, and so is their mean
        model.head.bias.copy_(torch.tensor([1.0, 3.0, 2.0]))
        model.patch.weight[0] = 1.0
        model.patch.value[0] = 5.0
    found = OnnxClassifier(with_weights(exported, model, {})).predict(pictures(2))
    assert found.logits.tolist() == [[1.0, 3.0, 2.0]] * 2
    assert found.slot.tolist() == [-1, -1]


def test_where_no_slot_fires_the_logits_are_the_heads_bit_for_bit(patched: EditableModel, exported: bytes) -> None:
    bare = copy.deepcopy(patched)
    with torch.no_grad():
        for parameter in bare.patch.parameters():
            parameter.zero_()
    files = exported, with_weights(exported, bare, {})
    with_slots, without = (OnnxClassifier(one).predict(pictures()) for one in files)
    silent = with_slots.slot == -1
    assert silent.sum() == 7
    assert with_slots.logits[silent].tobytes() == without.logits[silent].tobytes()


def test_a_slot_that_is_nan_is_not_silent(patched: EditableModel, exported: bytes) -> None:
    """What no slot adds is skipped; a damaged slot must not pass for one that adds nothing."""
    damaged = copy.deepcopy(patched)
    with torch.no_grad():
        damaged.patch.weight[0] = torch.nan
    found = OnnxClassifier(with_weights(exported, damaged, {})).predict(pictures(2)[1:])
    assert np.isnan(found.logits).all()


def test_bytes_repeat_and_carry_no_path(patched: EditableModel, exported: bytes, tmp_path: Path) -> None:
    export_onnx(patched, tmp_path / "model.onnx", dict(reversed(METADATA.items())))
    assert (tmp_path / "model.onnx").read_bytes() == exported
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert not re.search(rb"\.py|/home|/root|/usr|site-packages", exported)


def test_graph_does_not_depend_on_weights(exported: bytes) -> None:
    degenerate = untrained(1)
    with torch.no_grad():
        for parameter in degenerate.parameters():
            parameter.zero_()  # equal, zero: everything that an optimiser would merge or drop
    graphs = []
    for content in (exported, onnx_bytes(degenerate, METADATA)):
        proto = onnx.ModelProto.FromString(content)
        names = {f"model.{name}" for name in degenerate.state_dict()}
        for tensor in proto.graph.initializer:
            if tensor.name in names:
                tensor.ClearField("raw_data")
        graphs.append(proto.SerializeToString(deterministic=True))
        used = {tensor.name for tensor in proto.graph.initializer}
        assert {name for name in names if not name.endswith("num_batches_tracked")} <= used
    assert graphs[0] == graphs[1]


@pytest.mark.slow
def test_new_weights_in_the_old_graph_are_what_an_export_gives(patched: EditableModel, exported: bytes) -> None:
    metadata = {"errata.version": "7"}
    assert with_weights(onnx_bytes(untrained(1), {}), patched, metadata) == onnx_bytes(patched, metadata)
    other = EditableModel.from_spec(replace(patched.spec, slots=patched.spec.slots + 1))
    with pytest.raises(ExportError, match="not of this architecture"):
        with_weights(exported, other, {})


def test_interface_is_as_documented(exported: bytes) -> None:
    proto = onnx.ModelProto.FromString(exported)
    onnx.checker.check_model(proto, full_check=True)
    (images,) = proto.graph.input
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["batch", 16, 12, 3]
    assert [output.name for output in proto.graph.output] == ["logits", "probabilities", "slot"]
    assert {opset.domain: opset.version for opset in proto.opset_import}[""] == 20
    assert OnnxClassifier(exported).metadata == METADATA


def test_exporting_says_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    onnx_bytes(untrained(), {})
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_parity_sees_a_difference(patched: EditableModel, exported: bytes) -> None:
    classifier = OnnxClassifier(exported)
    same = parity(patched, classifier, pictures())
    assert (same.top1_agreement, same.n) == (1.0, 9)
    assert same.max_logit_difference < 1e-4
    other = copy.deepcopy(patched)
    with torch.no_grad():
        other.head.bias[1] += 0.25
    assert parity(other, classifier, pictures()).max_logit_difference == pytest.approx(0.25, abs=1e-4)


def test_what_is_not_our_model_is_refused(exported: bytes, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="must start with"):
        onnx_bytes(untrained(), {"version": "1"})
    with pytest.raises(ExportError, match="damaged"):
        OnnxClassifier(exported[: len(exported) // 2])
    with pytest.raises(ExportError, match=re.escape(str(tmp_path / "none.onnx"))):
        OnnxClassifier(tmp_path / "none.onnx")
    outside = onnx.ModelProto.FromString(exported)
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(ExportError, match="outside itself"):
        OnnxClassifier(outside.SerializeToString())
    renamed = onnx.ModelProto.FromString(exported)
    renamed.graph.output[2].name = "else"
    with pytest.raises(ExportError):
        OnnxClassifier(renamed.SerializeToString())


@pytest.mark.parametrize(
    "images",
    [pictures()[:0], pictures().astype(np.float32), pictures()[0], pictures()[:, :8]],
    ids=["none", "float", "no batch", "size"],
)
def test_bad_images_are_refused(exported: bytes, images: np.ndarray) -> None:
    with pytest.raises(ExportError, match="give uint8"):
        OnnxClassifier(exported).predict(images)


@pytest.mark.slow
def test_nothing_is_left_in_the_home_and_nobody_is_told(exported: bytes, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry makes an identity of the machine and a queue of events in the home directory."""
    model, home = tmp_path / "model.onnx", tmp_path / "home"
    model.write_bytes(exported)
    home.mkdir()
    code = "import sys; from pathlib import Path; from errata.editing.onnx.export import OnnxClassifier; "
    code += "OnnxClassifier(Path(sys.argv[1]))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    subprocess.run([sys.executable, "-c", code, str(model)], check=True, env={**environment, "HOME": str(home)})
    assert list(home.rglob("*")) == []
