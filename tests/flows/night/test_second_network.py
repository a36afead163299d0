"""A second network as docs/second-network.md says: its ONNX file beside params.yaml, of an input of its own size."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from typer.testing import CliRunner

from errata.data.datasets import load_dataset
from errata.data.splits import load_split
from errata.editing.errors import DataError
from errata.flows.cli.app import app
from errata.flows.night.collect import collect
from errata.flows.night.doubts import DoubtEstimator
from errata.flows.night.parent import sync
from errata.flows.night.second_network import SecondNetwork
from tests.flows.conftest import Place, set_trust
from tests.flows.night.test_collect import doubts_of
from tests.pages import REPOSITORY, blocks

NAME = "second_of_digits"


@pytest.fixture
def better(place: Place) -> Iterator[Path]:
    """The page's file for digits of 16 x 16 pixels, beside params.yaml with a network that knows all digits."""
    (block,) = [each for each in blocks(REPOSITORY / "docs" / "second-network.md") if each.file == "second.py"]
    code = block.text.replace("SIDE = 224", "SIDE = 16").replace("second.onnx", f"{NAME}.onnx")
    code = code.replace("(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)", "(0.0,), (1.0,)")
    folder = place.workspace.folder
    (folder / f"{NAME}.py").write_text(code)
    onnx.save(reader_of_digits(), folder / f"{NAME}.onnx")
    set_trust(folder, second_opinion=f"{NAME}:features")
    path = sys.path.copy()
    yield folder
    sys.path[:] = path
    sys.modules.pop(NAME, None)


def reader_of_digits() -> onnx.ModelProto:
    """Float images `[n, 1, 16, 16]` to the share of each class among digits of the data set that look just so: it has
    seen what is reported."""
    digits = load_dataset("digits")
    known = digits.images.reshape(-1, 64).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    nodes = [
        helper.make_node("AveragePool", ["images"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["direction"]),
        helper.make_node("MatMul", ["direction", "known"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "sharpness"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["alike"]),
        helper.make_node("MatMul", ["alike", "labels"], ["features"]),
    ]
    constants = {
        "known": known.T.copy(),
        "sharpness": np.float32(1000),
        "labels": np.eye(10, dtype=np.float32)[digits.labels],
    }
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("images", floats, ["n", 1, 16, 16])],
        [helper.make_tensor_value_info("features", floats, ["n", 10])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_it_tells_right_claims_from_wrong_ones(place: Place, better: Path) -> None:
    traffic = load_split(place.workspace.splits, "traffic")
    with_it, true = doubts_of(DoubtEstimator(place.workspace, sync(place.night())), traffic)
    set_trust(better, second_opinion="")
    without, _ = doubts_of(DoubtEstimator(place.workspace, sync(place.night())), traffic)
    assert with_it[true].mean() < without[true].mean() / 2


@pytest.mark.slow
def test_a_night_is_believed_by_it(place: Place, better: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`errata correct` finds the module beside params.yaml, and believes at once what waits without it."""
    place.report_mistakes()
    set_trust(better, second_opinion="", doubt_one=0.1, doubt_two=0.1, doubt_three=0.1)
    before = len(collect(place.night(), sync(place.night())).corrections)
    set_trust(better, second_opinion=f"{NAME}:features")
    monkeypatch.chdir(better)
    told = json.loads(CliRunner().invoke(app, ["correct", "--json", "--store", place.storage.url]).stdout)
    assert told["outcome"] == "released", told
    assert told["corrections"] > before


def test_another_network_under_the_same_name_is_asked_anew(place: Place, better: Path) -> None:
    images = load_split(place.workspace.splits, "traffic").images[:3]
    before = SecondNetwork(place.workspace).features(images)
    assert (SecondNetwork(place.workspace).features(images) == before).all()
    module: Any = importlib.import_module(NAME)
    module.MEAN = (0.5,)
    after = SecondNetwork(place.workspace).features(images)
    fresh = module.features(images)
    assert (after == fresh).all()
    assert (after != before).any()


def test_what_it_raises_or_makes_wrong_is_told_with_the_setting(place: Place, better: Path) -> None:
    images = load_split(place.workspace.splits, "traffic").images[:3]
    (better / f"{NAME}.onnx").unlink()
    with pytest.raises(DataError, match=f"second_opinion: {NAME}:features cannot be asked: .*{NAME}.onnx"):
        SecondNetwork(place.workspace).features(images)
    (better / f"{NAME}.py").write_text("def features(images):\n    return images.mean()\n")
    importlib.invalidate_caches()
    with pytest.raises(DataError, match=r"made \(\) of 1 images"):
        SecondNetwork(place.workspace).features(images)
