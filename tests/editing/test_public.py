import subprocess
import sys

import pytest
import torch

import errata
from errata import editing
from errata.editing.editors.patch import ON_THE_HEAD
from tests.editing.models import small_images, small_model


def test_one_image_is_corrected_in_memory() -> None:
    root = small_model()
    image = (small_images(1, 5)[0] > 127).to(torch.uint8) * 255
    expected = int(root(image[None]).argmin())
    views = editing.ViewSettings(fitting=3, flip=False)
    result = editing.edit(
        root,
        [editing.Constraint(image, expected)],
        reference=small_images(200, 7),
        calibration=small_images(200, 8),
        editor=editing.CalibratedPatch(views=views, fallback=ON_THE_HEAD),  # these features tell next to nothing apart
    )
    assert result.success, result.reason
    assert int(result.model(image[None]).argmax()) == expected
    assert int(root(image[None]).argmax()) != expected


def test_every_public_name_is_there() -> None:
    for name in editing.__all__:
        assert getattr(editing, name).__name__ == name
        assert getattr(errata, name) is getattr(editing, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = errata.nothing


def test_importing_the_package_alone_loads_no_torch() -> None:
    program = "import sys, errata.editing; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
