"""Weights that are taken instead of training: those of a file, and those that an architecture's makers published."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from errata.data.releases.manifest import sha256
from errata.editing.errors import DataError, ModelError
from errata.editing.model import EditableModel, ModelSpec
from errata.flows.params import ModelParams, parse_params
from errata.flows.stages.train import adopt
from errata.flows.workspace import Workspace


def model_of(params: ModelParams, *classes: str) -> EditableModel:
    side = 224 if params.architecture == "efficientnet_lite0" else 8
    arguments = dict(params.arguments)
    return EditableModel.from_spec(
        ModelSpec(params.architecture, classes, (side, side, 3), (0.5,) * 3, (0.5,) * 3, arguments, slots=1)
    )


def test_published_weights_and_what_goes_with_them_are_defaults_of_their_architecture_alone() -> None:
    found = parse_params(b"model: {architecture: efficientnet_lite0}").model
    torch.testing.assert_close(255 * torch.tensor(found.mean + found.std), torch.tensor([127.0] * 3 + [128.0] * 3))
    assert (found.weights, len(found.weights_sha256)) == ("published", 64)
    mine = parse_params(b"model: {architecture: efficientnet_lite0, weights: mine.pth, std: [1, 1, 1]}").model
    assert (mine.weights, mine.weights_sha256, mine.std, mine.mean) == ("mine.pth", "", (1, 1, 1), found.mean)
    other = parse_params(b"model: {architecture: timm}").model
    assert (other.weights, other.weights_sha256) == ("", "")


def test_published_weights_are_adopted_by_the_names_of_classes_or_by_outputs(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    params = ModelParams(architecture="efficientnet_lite0")
    named, numbered = model_of(params, "daisy", "n03877845"), model_of(params, "our flower", "our palace")
    adopt(Workspace(tmp_path), params, named)
    with pytest.raises(ModelError, match="'our flower' is none"):
        adopt(Workspace(tmp_path), params, numbered)
    adopt(Workspace(tmp_path), params.model_copy(update={"outputs": (985, 698)}), numbered)
    assert all(torch.equal(value, named.state_dict()[name]) for name, value in numbered.state_dict().items())


def test_another_file_than_the_recorded_one_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    params = ModelParams(architecture="efficientnet_lite0", weights_sha256="0" * 64)
    with pytest.raises(DataError, match="weights_sha256 must be the file's digest, 5793"):
        adopt(Workspace(tmp_path), params, model_of(params, "daisy", "palace"))


def test_a_file_of_more_classes_serves_for_those_that_outputs_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    params = ModelParams(weights="five.safetensors", outputs=(3, 1))
    five, two = model_of(params, *"abcde"), model_of(params, "d", "b")
    content = save(five.state_dict())
    (tmp_path / "five.safetensors").write_bytes(content)
    adopt(Workspace(tmp_path), params.model_copy(update={"weights_sha256": sha256(content)}), two)
    assert torch.equal(two.head.weight, five.head.weight[[3, 1]])
