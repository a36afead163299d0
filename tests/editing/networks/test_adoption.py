"""Other people's classifiers: cut at the head without a change of what they compute, weights safe and complete."""

import io
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from errata.editing.devices import choose_device
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import DataError, ModelError
from errata.editing.model import EditableModel, ModelSpec, fit_patch
from errata.editing.networks import architectures
from errata.editing.networks.adoption import split_classifier
from errata.editing.pretrained import load_weights
from errata.editing.settings import ViewSettings
from errata.editing.types import Constraint
from errata.editing.vision import torchvision

CLASSES = ("a", "b", "c")
SHAPE = (32, 32, 3)


def spec(architecture: str, **arguments: str | int | bool) -> ModelSpec:
    return ModelSpec(architecture, CLASSES, SHAPE, (0.5,) * 3, (0.25,) * 3, dict(arguments), slots=8)


class Small(nn.Module):
    """A classifier with dropout before its head and batch norm behind its convolution."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(images))
        return logits


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("torchvision", "densenet121"),
        ("torchvision", "resnet18"),
        ("torchvision", "mobilenet_v3_small"),
        ("timm", "resnet18"),
        ("timm", "mobilenetv3_small_050"),
    ],
)
def test_original_weights_give_the_original_logits(architecture: str, name: str) -> None:
    torch.manual_seed(0)
    if architecture == "timm":
        timm = pytest.importorskip("timm")
        original = timm.create_model(name, num_classes=3)
    else:
        original = torchvision.models.get_model(name, weights=None, num_classes=3)
    original.eval()
    model = EditableModel.from_spec(spec(architecture, name=name)).eval()
    load_weights(model, save(original.state_dict()), f"{name}.safetensors")
    images = torch.randint(0, 256, (3, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        expected = original((images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def test_what_has_no_linear_head_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no nn\.Linear with 3 outputs"):
        EditableModel.from_spec(spec("torchvision", name="squeezenet1_1"))

    class Scaled(Small):
        def forward(self, images: Tensor) -> Tensor:
            return 2 * super().forward(images)

    with pytest.raises(ModelError, match="more than its layer"):
        split_classifier(Scaled(3), 3, SHAPE)
    with pytest.raises(ModelError, match="cannot take images"):
        split_classifier(Small(3), 3, (2, 2, 3))


def test_names_and_arguments_cannot_fetch_anything() -> None:
    for architecture, arguments in (
        ("torchvision", {"name": "no_such_model"}),
        ("torchvision", {"name": "resnet18", "weights": "DEFAULT"}),
        ("torchvision", {"name": "resnet18", "no_such_argument": 1}),
        ("timm", {"name": "hf-hub:somebody/model"}),
        ("timm", {"name": "resnet18", "pretrained": True}),
        ("timm", {"name": "resnet18", "checkpoint_path": "/tmp/x.pth"}),
        ("os.system", {"name": "true"}),
    ):
        with pytest.raises(ModelError):
            EditableModel.from_spec(spec(architecture, **arguments))


@pytest.fixture
def small() -> EditableModel:
    torch.manual_seed(0)
    return EditableModel(spec("unregistered"), *split_classifier(Small(3), 3, SHAPE)).eval()


def saved(content: object) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def test_weights_in_every_usual_wrapping(small: EditableModel) -> None:
    torch.manual_seed(1)
    state = Small(3).state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    for content, name in (
        (save(state), "w.safetensors"),
        (saved(state), "w.pt"),
        (saved({"state_dict": wrapped, "epoch": 3}), "w.pth"),
    ):
        nn.init.zeros_(small.head.weight)
        load_weights(small, content, name)
        assert torch.equal(small.head.weight, state["classifier.2.weight"])
        assert torch.equal(small.state_dict()["backbone.body.1.running_var"], state["body.1.running_var"])


class Bomb:
    """What a checkpoint must never be allowed to be."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path("/tmp/errata-was-here").touch, ()  # type: ignore[return-value]


def test_unsafe_and_unfitting_weights_are_refused(small: EditableModel) -> None:
    state = Small(3).state_dict()
    for content, name in (
        (pickle.dumps(Bomb(), protocol=2), "w.pt"),
        (saved({"state_dict": Bomb()}), "w.pt"),
        (saved([1, 2]), "w.pt"),
        (saved({}), "w.pt"),
        (b"", "w.pt"),
        (b"garbage", "w.safetensors"),
        (save({**state, "other.weight": torch.zeros(1)}), "w.safetensors"),
        (save({name: value for name, value in state.items() if name != "body.0.bias"}), "w.safetensors"),
        (save({**state, "body.0.weight": torch.zeros(4, 3, 3, 3)}), "w.safetensors"),
    ):
        with pytest.raises(ModelError, match=name):
            load_weights(small, content, name)
    assert not Path("/tmp/errata-was-here").exists()


def test_an_entry_point_registers_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed(dict[str, object]):
        names = frozenset({"entered"})

    class Entry:
        def load(self) -> architectures.Factory:
            return lambda classes, shape: split_classifier(Small(classes), classes, shape)

    monkeypatch.setattr(architectures, "entry_points", lambda group: Installed(entered=Entry()))
    monkeypatch.setattr(architectures, "_FACTORIES", dict(architectures._FACTORIES))
    assert EditableModel.from_spec(spec("entered")).head.out_features == 3
    with pytest.raises(ModelError, match="entered"):
        EditableModel.from_spec(spec("neither"))


def test_an_adopted_model_is_corrected_and_stays_in_eval_mode(small: EditableModel) -> None:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (120, *SHAPE), dtype=torch.uint8, generator=generator)
    images[-1] = torch.tensor([255, 0, 0], dtype=torch.uint8)  # red all over
    fit_patch(small, images[:60])
    editor = CalibratedPatch(views=ViewSettings(fitting=4))
    with torch.no_grad():
        wrong = (int(small(images[-1:]).argmax()) + 1) % 3
    state = editor.prepare(small, images[:60], images[60:100])
    result = editor.edit(small, [Constraint(images[-1], wrong, "one")], state)
    assert result.success, result.reason
    assert not any(module.training for module in result.model.modules())
    with torch.no_grad():
        assert int(result.model(images[-1:]).argmax()) == wrong
    for name, value in small.backbone.state_dict().items():  # running statistics included
        assert torch.equal(value, result.model.backbone.state_dict()[name])


def test_devices() -> None:
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(DataError, match="no device"):
        choose_device("abacus")
    with pytest.raises(DataError, match="GPUs"):
        choose_device("cuda:99")
