from __future__ import annotations

import copy
import json

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load

from errata.editing.errors import Damaged, ErrataError, ExportError
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.onnx.delta import apply_delta, make_delta
from errata.editing.onnx.export import onnx_bytes, with_weights

SPEC = ModelSpec("resnet", ("a", "b", "c"), (8, 8, 1), (0.4,), (0.3,), {"width": 4, "blocks": 1}, 6)


@pytest.fixture(scope="module")
def root() -> EditableModel:
    torch.manual_seed(0)
    return EditableModel.from_spec(SPEC).eval()


@pytest.fixture(scope="module")
def root_bytes(root: EditableModel) -> bytes:
    return onnx_bytes(root, {"errata.version": "1"})


@pytest.fixture(scope="module")
def release(root: EditableModel) -> EditableModel:
    """Two slots filled, one weight of the head changed by a bit that equality of numbers would not see."""
    edited = copy.deepcopy(root)
    with torch.no_grad():
        for slot in (1, 4):
            edited.patch.weight[slot] = torch.randn(32, generator=torch.Generator().manual_seed(slot))
            edited.patch.threshold[slot] = 0.1
            edited.patch.value[slot] = torch.tensor([1.0, 0.0, -2.0])
        edited.head.bias[0] = -0.0 if edited.head.bias[0] == 0 else 0.5
        edited.patch.threshold[5] = -0.0
    return edited


@pytest.fixture(scope="module")
def release_bytes(root_bytes: bytes, release: EditableModel) -> bytes:
    return with_weights(root_bytes, release, {"errata.version": "2", "errata.ledger": "ä"})


def test_the_release_comes_back_byte_for_byte(root_bytes: bytes, release_bytes: bytes) -> None:
    delta = make_delta(root_bytes, release_bytes)
    assert apply_delta(root_bytes, delta) == release_bytes
    assert make_delta(root_bytes, release_bytes) == delta


def test_only_what_changed_is_in_it(root_bytes: bytes, release_bytes: bytes) -> None:
    tensors = load(make_delta(root_bytes, release_bytes))
    assert sorted({name.split(":")[0] for name in tensors}) == [
        "model.head.bias",
        "model.patch.threshold",
        "model.patch.value",
        "model.patch.weight",
    ]
    assert tensors["model.patch.weight:rows"].tolist() == [1, 4]
    assert tensors["model.patch.weight:values"].shape == (2, 32)


@pytest.mark.slow
def test_size_of_a_correction() -> None:
    wide = ModelSpec("resnet", tuple("abcdefghij"), (8, 8, 1), (0.4,), (0.3,), {"width": 64, "blocks": 1}, 64)
    model = EditableModel.from_spec(wide).eval()
    before = onnx_bytes(model, {})
    with torch.no_grad():
        for parameter in model.patch.parameters():
            parameter[:20] = torch.randn(parameter[:20].shape)
    assert model.patch.weight.shape[1] == 512
    assert len(make_delta(before, onnx_bytes(model, {"errata.version": "2"}))) / 20 <= 3000


def test_no_change_is_a_delta_too(root_bytes: bytes) -> None:
    delta = make_delta(root_bytes, root_bytes)
    assert load(delta) == {}
    assert apply_delta(root_bytes, delta) == root_bytes


def test_another_root_is_refused(root: EditableModel, root_bytes: bytes, release_bytes: bytes) -> None:
    delta = make_delta(root_bytes, release_bytes)
    with pytest.raises(Damaged, match="the root"):
        apply_delta(release_bytes, delta)
    other = ModelSpec("resnet", ("a", "b", "c"), (8, 8, 1), (0.4,), (0.3,), {"width": 4, "blocks": 1}, 7)
    with pytest.raises(ExportError, match="one graph"):
        make_delta(root_bytes, onnx_bytes(EditableModel.from_spec(other).eval(), {}))


def test_a_changed_byte_never_passes(root_bytes: bytes, release_bytes: bytes) -> None:
    delta = make_delta(root_bytes, release_bytes)
    rng = np.random.default_rng(0)
    header = 8 + int.from_bytes(delta[:8], "little")
    for position in (*range(0, header, 7), *range(header, len(delta), 31)):
        changed = bytearray(delta)
        changed[position] ^= 1 << int(rng.integers(8))
        try:
            result = apply_delta(root_bytes, bytes(changed))
        except ErrataError:
            continue
        assert result == release_bytes  # a byte of the header's padding or of the order of keys


def test_a_delta_of_another_format_is_refused(root_bytes: bytes) -> None:
    header = json.dumps({"__metadata__": {"format": "else/9"}}).encode()
    with pytest.raises(ExportError, match="else/9"):
        apply_delta(root_bytes, len(header).to_bytes(8, "little") + header)
    with pytest.raises(ExportError, match="cannot be read"):
        apply_delta(root_bytes, b"no")


def test_root_and_release_differ_in_initializers_and_metadata_alone(root_bytes: bytes, release_bytes: bytes) -> None:
    one, two = (onnx.ModelProto.FromString(content) for content in (root_bytes, release_bytes))
    assert [str(node) for node in one.graph.node] == [str(node) for node in two.graph.node]


def test_the_root_may_carry_the_metadata_of_any_release(
    root: EditableModel, root_bytes: bytes, release_bytes: bytes
) -> None:
    """The root's first release is numbered otherwise than the file that deltas are made from."""
    shipped = with_weights(root_bytes, root, {"errata.version": "7", "errata.ledger": "of no corrections"})
    assert shipped != root_bytes
    assert apply_delta(shipped, make_delta(root_bytes, release_bytes)) == release_bytes
