"""Scopes choose parameters by name; the tail continues exactly where `before` stops."""

import pytest
import torch
from torch import nn

from errata.editing.errors import ScopeError
from errata.editing.model import EditableModel
from errata.editing.scopes import Scope, before
from tests.editing.models import small_images, small_model


@pytest.mark.parametrize(
    ("patterns", "cut", "count"),
    [(("whole",), 0, 38), (("chain3",), 3, 9), (("chain3", "chain4"), 3, 18), (("head",), 6, 2), (("*.bn2.*",), 1, 8)],
)
def test_scope(patterns: tuple[str, ...], cut: int, count: int) -> None:
    layers = Scope(*patterns).resolve(small_model())
    assert layers.cut == cut and len(layers.names) == count
    assert not any(name.startswith("patch.") for name in layers.names)


def test_patch_slots_are_chosen_only_by_their_name() -> None:
    assert Scope("patch.value").resolve(small_model()).names == ("patch.value",)


@pytest.mark.parametrize("patterns", [("chain5",), ("head", "nothing.*"), ()])
def test_layers_that_match_nothing_are_named(patterns: tuple[str, ...]) -> None:
    with pytest.raises(ScopeError, match=patterns[-1].replace("*", r"\*") if patterns else "no patterns"):
        Scope(*patterns).resolve(small_model())


@torch.no_grad()
@pytest.mark.parametrize("cut", range(7))
def test_tail_continues_where_before_stops(cut: int) -> None:
    model, images = small_model(), small_images(5)
    torch.testing.assert_close(model.tail(cut)(before(model, images, cut)), model(images), rtol=0, atol=0)


@torch.no_grad()
def test_a_backbone_without_stages_is_one_stage() -> None:
    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(64, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            hidden: torch.Tensor = self.inner(images.flatten(1))
            return hidden

    model, images = EditableModel(small_model().spec, Opaque(), nn.Linear(5, 4)).eval(), small_images(3)
    assert Scope("inner").resolve(model).cut == 0
    assert Scope("head").resolve(model).cut == 1
    for cut in (0, 1):
        torch.testing.assert_close(model.tail(cut)(before(model, images, cut)), model(images))


def test_copy_owns_what_it_may_change_and_shares_the_rest() -> None:
    model = small_model()
    layers = Scope("chain3").resolve(model)
    edited = layers.copy(model)
    for name, tensor in model.named_parameters():
        assert (edited.get_parameter(name) is tensor) == (name not in layers.names)
    layers.write(edited, {name: torch.zeros_like(value) for name, value in layers.parameters(edited).items()})
    assert all(bool(value.any()) for name, value in layers.parameters(model).items() if name.endswith("weight"))
