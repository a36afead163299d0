import torch

from errata.editing.kinds.batch_norm import own_statistics, with_tensors
from tests.editing.kinds.pale import pale_images
from tests.editing.models import small_model


def test_the_first_layer_gets_its_share_of_the_images_own_statistics() -> None:
    model, images = small_model(), pale_images(40, seed=1)[0]
    found = own_statistics(model, images, 0.8)
    first = model.get_submodule("backbone.stem.0")
    with torch.no_grad():
        hidden = first(model.normalise(images))
    name = "backbone.stem.1.running_"
    for kept, own in (("mean", hidden.mean((0, 2, 3))), ("var", hidden.var((0, 2, 3)))):
        torch.testing.assert_close(found[name + kept], 0.2 * model.state_dict()[name + kept] + 0.8 * own)


def test_nothing_of_the_model_changes_and_no_share_changes_nothing() -> None:
    model, images = small_model(), pale_images(40, seed=1)[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = with_tensors(model, own_statistics(model, images, 0.0))
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value) and torch.equal(kept.state_dict()[name], value), name


def test_a_model_without_batch_norm_has_none() -> None:
    model = small_model()
    for name, layer in list(model.backbone.named_modules()):
        if isinstance(layer, torch.nn.BatchNorm2d):
            model.backbone.set_submodule(name, torch.nn.Identity())
    assert own_statistics(model, pale_images(4, seed=1)[0], 0.8) == {}
