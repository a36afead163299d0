import subprocess
import sys
from types import ModuleType

import pytest

from errata.editing import vision


def test_models_datasets_and_grids_are_there() -> None:
    torchvision = vision.torchvision
    assert callable(torchvision.models.resnet18)
    assert callable(torchvision.datasets.CIFAR10)
    assert callable(torchvision.utils.make_grid)


def test_nothing_is_declared_for_a_matching_pair() -> None:
    sentinel = ModuleType("torchvision")
    before = len(vision._declared)
    assert vision.load_torchvision(lambda _name: sentinel) is sentinel
    assert len(vision._declared) == before


def test_another_failure_is_not_swallowed() -> None:
    def fail(_name: str) -> ModuleType:
        raise RuntimeError("a driver is missing")

    with pytest.raises(RuntimeError, match="driver"):
        vision.load_torchvision(fail)


@pytest.mark.slow
def test_transforms_import_in_a_fresh_interpreter() -> None:
    program = "from errata.editing.vision import torchvision; import torchvision.transforms.v2 as v2; print(v2.Resize)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
