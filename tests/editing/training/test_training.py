"""Training: deterministic, resumable, and it learns; augmentation by its definition."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from errata.editing.errors import DataError
from errata.editing.model import EditableModel, ModelSpec
from errata.editing.settings import TrainingSettings
from errata.editing.training.plain import Epoch, augment, predict, train
from tests.editing.models import small_images, small_model

SETTINGS = TrainingSettings(epochs=3, batch=16, learning_rate=0.05)
LABELS = torch.arange(40) % 4


def weights(model: EditableModel) -> torch.Tensor:
    return torch.cat([value.detach().flatten().float() for value in model.state_dict().values()])


def test_same_seed_same_weights_and_stopping_in_between_changes_nothing(tmp_path: Path) -> None:
    images = small_images(40)
    straight, again, other, resumed = (small_model() for _ in range(4))
    record = train(straight, images, LABELS, SETTINGS)
    train(again, images, LABELS, SETTINGS)
    train(other, images, LABELS, SETTINGS, seed=1)
    assert torch.equal(weights(straight), weights(again)) and not torch.equal(weights(straight), weights(other))

    class StoppedError(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(resumed, images, LABELS, SETTINGS, stop, resume=tmp_path / "state.pt")
    fresh = small_model(seed=9)
    found = train(fresh, images, LABELS, SETTINGS, resume=tmp_path / "state.pt")
    assert torch.equal(weights(fresh), weights(straight)) and not fresh.training
    assert [one.loss for one in found.epochs] == [one.loss for one in record.epochs]
    with pytest.raises(DataError, match="other settings"):
        train(fresh, images, LABELS, SETTINGS, seed=1, resume=tmp_path / "state.pt")


def test_learns_the_digits() -> None:
    digits = load_digits()
    images = torch.tensor(digits.images * 255 / 16).round().to(torch.uint8)[..., None]
    labels = torch.tensor(digits.target)
    torch.manual_seed(0)
    spec = ModelSpec("resnet", tuple("0123456789"), (8, 8, 1), (0.3,), (0.38,), {"width": 16, "blocks": 1})
    model = EditableModel.from_spec(spec)
    train(model, images[:500], labels[:500], TrainingSettings(epochs=15, batch=128, learning_rate=0.2))
    accuracy = (predict(model, images[500:]).argmax(1) == labels[500:]).float().mean().item()
    assert accuracy > 0.9
    assert not bool(model.patch.weight.any()) and not bool(model.patch.value.any())


def test_augmentation_shifts_and_flips_each_image_as_a_whole() -> None:
    images = small_images(256)
    settings = TrainingSettings(shift=1, flip=True)
    seen = set()
    for image, moved in zip(images, augment(images, settings, torch.Generator().manual_seed(0)), strict=True):
        padded = torch.zeros(10, 10, 1, dtype=torch.uint8)
        padded[1:9, 1:9] = image
        matches = [
            (row, column, flip)
            for row in range(3)
            for column in range(3)
            for flip in (False, True)
            if torch.equal(moved, (padded.flip(1) if flip else padded)[row : row + 8, column : column + 8])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 18
    still = TrainingSettings(shift=0)
    assert torch.equal(augment(images, still, torch.Generator()), images)


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (small_images(0), LABELS[:0], "0 images"),
        (small_images(3), LABELS[:2], "3 images and 2 labels"),
        (small_images(2)[:, :7], LABELS[:2], "do not fit"),
        (small_images(2), torch.tensor([0, 4]), "0 to 3"),
    ],
)
def test_unusable_training_data_is_named(images: torch.Tensor, labels: torch.Tensor, named: str) -> None:
    with pytest.raises(DataError, match=named):
        train(small_model(), images, labels, SETTINGS)
