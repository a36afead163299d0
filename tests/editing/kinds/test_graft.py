"""The exported file of a model with kinds, against the model in torch and against the root's file."""

import numpy as np
import onnx
import pytest
import torch

from errata.editing.errors import ExportError
from errata.editing.kinds.find import Kind, with_kinds
from errata.editing.model import EditableModel
from errata.editing.onnx.delta import apply_delta, make_delta
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes
from tests.editing.kinds.pale import found, pale_images
from tests.editing.models import small_images, small_model

pytestmark = pytest.mark.slow  # each exports a file with kinds


@pytest.fixture(scope="module")
def root_file() -> bytes:
    return onnx_bytes(small_model(), {})


def two_kinds() -> EditableModel:
    """Kind 0 never fires, kind 1 on pale images, with a tail that says the last class a little more."""
    state, (kind,) = found()
    shifted = {**kind.replaced, "head.bias": kind.replaced["head.bias"] + 0.5 * torch.eye(4)[3]}
    never = Kind(kind.fitted, kind.weight, kind.threshold + 1000, 0.0, kind.replaced)
    other = Kind(kind.fitted, kind.weight, kind.threshold, 0.0, shifted)
    return with_kinds(small_model(), (never, other), state)


@pytest.fixture(scope="module")
def kind_file() -> bytes:
    return onnx_bytes(two_kinds(), {"errata.version": "2"})


def mixed() -> np.ndarray:
    images: np.ndarray = torch.cat([small_images(30, seed=40), pale_images(10, seed=41)[0]]).numpy()
    return images


@pytest.mark.parametrize("batch", [1, 7, 40])
def test_it_is_the_model_in_torch_at_any_batch_size(kind_file: bytes, batch: int) -> None:
    model, images = two_kinds(), mixed()
    answers = OnnxClassifier(kind_file, batch=batch).predict(images)
    with torch.no_grad():
        logits, kind = model(torch.from_numpy(images)), model.see(torch.from_numpy(images)).kind
    assert kind is not None and answers.kind.tolist() == kind.tolist() and answers.kind[-10:].tolist() == [1] * 10
    np.testing.assert_allclose(answers.logits, logits.numpy(), atol=1e-5)


def test_where_no_kind_fires_it_is_the_roots_file_bit_for_bit(root_file: bytes, kind_file: bytes) -> None:
    was, now = (OnnxClassifier(each).predict(mixed()) for each in (root_file, kind_file))
    silent = now.kind < 0
    assert silent.sum() > 25 and set(was.kind) == {-1}
    assert now.logits[silent].tobytes() == was.logits[silent].tobytes()
    assert bool((now.logits[~silent] != was.logits[~silent]).any(1).all())


def test_its_bytes_repeat_and_a_delta_makes_them_of_the_roots(root_file: bytes, kind_file: bytes) -> None:
    assert onnx_bytes(two_kinds(), {"errata.version": "2"}) == kind_file
    delta = make_delta(root_file, kind_file)
    onnx.checker.check_model(onnx.ModelProto.FromString(kind_file), full_check=True)
    assert apply_delta(root_file, delta) == kind_file
    assert len(delta) < len(kind_file) - len(root_file) + 100_000  # the graph, and what is not the root's
    with pytest.raises(ExportError, match="not of one graph"):
        make_delta(kind_file, root_file)
