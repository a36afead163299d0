"""The parameters of a new project, by what its images and its network are. All else has its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from errata.data.datasets import ImageShape, LabelledImages, load_dataset
from errata.data.releases.manifest import sha256
from errata.data.splits import REST, make_splits
from errata.editing.errors import DataError
from errata.editing.networks.imagenet import PUBLISHED
from errata.flows.cli.new_project.images import Seen, statistics
from errata.flows.params import Params

# shares of the images; the test split has the rest
TRAINED_HERE = {"train": 0.4, "reference": 0.12, "calibration": 0.15, "gate": 0.25}
TRAINED_ELSEWHERE = {"train": 0.1, "reference": 0.22, "calibration": 0.25, "gate": 0.3}
CHAINED = "resnet"  # the built-in network whose stages Editable Training edits by default


@dataclass(frozen=True)
class Network:
    """What the operator said: an architecture as `name` or `library:model`, where its code and weights lie."""

    name: str = CHAINED
    plugins: tuple[str, ...] = ()
    weights: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Wishes:
    """What else the operator said; `classes` in the order in which the model counts them."""

    size: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()
    flip: bool = False
    accuracy: float | None = None
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Parameters, and the splits that they make of the images; `copies` of images are in none of them."""

    params: Params
    splits: dict[str, LabelledImages]
    shape: ImageShape
    copies: int


def choose(folder: Path, dataset: str, root: str, seen: Seen | None, network: Network, wishes: Wishes) -> Choice:
    """The parameters of a project in `folder` with images at `root`, whose `seen` is None for the digits.

    Raises DataError if there are too few images, or if the declared classes are not those of the images.
    """
    data: dict[str, object] = {"dataset": dataset, "root": root}
    if seen is None:
        images = load_dataset(dataset)
    else:
        shape = seen.shape(wishes.size, len(network.mean) or None)
        images = load_dataset(dataset, folder / root, image_shape=shape, folder=folder)
        data["image_shape"] = shape
    if wishes.classes:
        images = images.ordered(wishes.classes)
        data["classes"] = wishes.classes
    distinct = len(make_splits(images, {"all": REST}, 0)["all"])
    if seen is not None:
        data["splits"] = {**sizes(distinct, bool(network.weights)), "traffic": 0}
    params = Params.model_validate(
        {
            "data": data,
            "model": model_section(folder, network, images, own=seen is not None),
            "train": {"method": "auto" if network.name == CHAINED else "plain", "flip": wishes.flip},
            "views": {"flip": wishes.flip},
            "gate": {} if wishes.accuracy is None else {"accuracy": wishes.accuracy},
            "trust": {"trusted": wishes.trusted} if wishes.trusted else {},
        }
    )
    parts = make_splits(images, {name: size for name, size in params.data.splits if size}, params.seed)
    return Choice(params, parts, images.images.shape[1:], len(images) - distinct)


def sizes(images: int, weights_given: bool) -> dict[str, int]:
    """Images in each split: fewer for training where nothing is trained; the test split has the rest."""
    shares = TRAINED_ELSEWHERE if weights_given else TRAINED_HERE
    parts = {name: int(share * images) for name, share in shares.items()}
    if not all(parts.values()):
        raise DataError(f"{images} distinct images are too few to be split; bring some hundred of each class")
    return {**parts, "test": images - sum(parts.values())}


def model_section(folder: Path, network: Network, images: LabelledImages, *, own: bool) -> dict[str, object]:
    """The section `model`; what images have as mean and deviation is measured, unless the network knows its own."""
    library, _, name = network.name.partition(":")
    section: dict[str, object] = {"architecture": library, "plugins": network.plugins}
    if name:
        section["arguments"] = {"name": name}
    if network.weights == PUBLISHED:
        return section  # what goes with them are defaults
    if network.weights:
        try:
            content = (folder / network.weights).read_bytes()
        except OSError as fault:
            raise DataError(f"{network.weights}: {fault.strerror}") from fault
        section |= {"weights": network.weights, "weights_sha256": sha256(content)}
    mean, std = (network.mean, network.std) if network.mean else statistics(images) if own else ((), ())
    return section | ({"mean": mean, "std": std} if mean else {})
