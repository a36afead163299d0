"""What is decided by features is held against the file, run whole, on images that nobody can foresee."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from errata.editing.features import Features
from errata.editing.model import EditableModel, ModelSpec, load_model
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes
from errata.editing.onnx.shortcut import shortcut
from errata.flows.gate.paired import AT_ONCE, classes_of
from errata.flows.night.candidate import write_candidate_ledger
from errata.flows.night.collect import collect
from errata.flows.night.parent import sync
from errata.flows.stages.answers import DRAWN, Answers, RootAndRelease, drawn, held_against_the_file, open_answers
from errata.flows.stages.edit import edit
from errata.flows.stages.evaluate import evaluate
from errata.flows.stages.export import export
from tests.flows.conftest import Place


def test_other_images_are_drawn_for_each_candidate_and_the_same_for_the_same() -> None:
    numbered = np.arange(2000, dtype=np.uint16).view(np.uint8).reshape(2000, 1, 2, 1)
    one, again, other = (drawn(numbered, digest * 32).ravel().view(np.uint16).tolist() for digest in ("ab", "ab", "cd"))
    assert one == again
    assert len(set(one)) == DRAWN == 500
    assert len(set(one) & set(other)) < 250  # by chance a quarter
    assert drawn(numbered[:350], "ab" * 32).tolist() == numbered[:350].tolist()


def test_the_same_release_comes_out_whether_features_are_known_or_not(quick: Place) -> None:
    """And a cache that tells another story than the file is a difference beyond parity."""
    workspace, night = quick.workspace, quick.night()
    quick.report_mistakes(3)
    parent = sync(night)
    write_candidate_ledger(night, parent, collect(night, parent), 2)
    candidate, source = workspace.candidate, workspace.onnx / "model.onnx"
    outputs = [candidate / "model.safetensors", candidate / "edit.json", source, workspace.gate, workspace.evaluation]
    found = []
    for known in (False, True, False):
        if not known:
            for path in workspace.features.glob("*.sqlite"):
                path.unlink()
        edit(workspace, workspace.params)
        export(workspace)
        evaluate(workspace, workspace.params)
        found.append([path.read_bytes() for path in outputs])
    assert found[0] == found[1] == found[2]
    assert list(workspace.features.glob("*.sqlite"))

    root = load_model(workspace.root)
    short, file = shortcut(source, root, Features()), OnnxClassifier(source)
    assert short is not None
    images = np.random.default_rng(0).integers(0, 256, (40, *root.spec.image_shape), dtype=np.uint8)
    assert held_against_the_file((Answers(file, short),), images).max_logit_difference < 1e-4
    with torch.no_grad():
        short.model.head.bias[0] += 0.01
    assert held_against_the_file((Answers(file, replace(short)),), images).max_logit_difference > 0.009


@pytest.mark.slow
def test_what_is_said_of_many_images_does_not_depend_on_how_many_are_held_together() -> None:
    """More images than are held together, against one pass over all of them."""
    rng = np.random.default_rng(0)
    spec = ModelSpec("resnet", ("a", "b", "c"), (8, 8, 1), (0.5,), (0.25,), {"width": 2, "blocks": 1}, slots=2)
    torch.manual_seed(0)
    root, release = (EditableModel.from_spec(spec).eval() for _ in range(2))
    release.backbone.load_state_dict(root.backbone.state_dict())
    features = Features()
    files = [open_answers(onnx_bytes(each, {}), root, features) for each in (root, release)]
    assert files[1].shortcut is not None
    images = rng.integers(0, 256, (AT_ONCE + 300, 8, 8, 1), dtype=np.uint8)
    found = RootAndRelease(files[0], files[1], root, features).on(
        images, lambda rows: (rows[:, 0] > 0).astype(np.int64)
    )
    with torch.no_grad():
        hidden = root.features(torch.from_numpy(images))
        before, after = root.classify(hidden), release.classify(hidden)
    top = before.topk(2)
    assert found.paired.before.tolist() == top.indices[:, 0].tolist()
    assert found.paired.second.tolist() == top.indices[:, 1].tolist()
    assert found.paired.after.tolist() == after.argmax(1).tolist()
    np.testing.assert_allclose(found.paired.margin, (top.values[:, 0] - top.values[:, 1]).numpy(), atol=1e-5)
    moved = (before.softmax(1) - after.softmax(1)).abs().amax(1)
    np.testing.assert_allclose(found.paired.moved, moved.numpy(), atol=1e-5)
    assert found.cluster.tolist() == (hidden[:, 0] > 0).long().tolist()
    assert classes_of(files[1], images).tolist() == found.paired.after.tolist()
