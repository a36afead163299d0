"""What an audit may run: the installed pipeline, and modules that the auditor named; never commands of the store's."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import yaml

from errata.editing.errors import ForeignCode
from errata.flows.params import Params

INSTALLED = Path(__file__).parents[1] / "stages" / "pipeline.yaml"  # the repository's dvc.yaml, byte for byte
OWN = b"python -m errata.flows.stages"  # so no package `flows` of whose project it is can be meant


def own_pipeline() -> bytes:
    """The installed pipeline as a project of its own spells it, and the repository's dvc.yaml does not."""
    return INSTALLED.read_bytes().replace(b"python -m flows.stages", OWN)


def check_pipeline(content: bytes, whose: str) -> bytes:
    """The installed pipeline, spelled as the dvc.yaml `content` spells it.

    Raises ForeignCode if that has other stages than the installed one; it names the stage and the field.
    """
    pipeline = own_pipeline() if OWN in content else INSTALLED.read_bytes()
    installed = yaml.safe_load(pipeline)
    try:
        other = yaml.safe_load(content)
    except (ValueError, RecursionError, yaml.YAMLError):
        other = None
    if not isinstance(other, dict) or not isinstance(other.get("stages"), dict):
        raise ForeignCode(f"dvc.yaml of {whose} has no stages that can be read; it is not run")
    places = [str(name) for name in other if name not in installed]
    for name in {**other["stages"], **installed["stages"]}:
        mine, its = installed["stages"].get(name), other["stages"].get(name)
        if not isinstance(mine, dict) or not isinstance(its, dict):
            places.append(f"stages.{name}")
        else:
            places += [f"stages.{name}.{each}" for each in {**mine, **its} if mine.get(each) != its.get(each)]
    places = [place for place in places if not place.endswith(".desc")]
    if places:
        raise ForeignCode(
            f"dvc.yaml of {whose} is not the installed pipeline: {', '.join(sorted(places))[:200]} differs. "
            "Nothing of it is run; audit it with the version of Errata that made it"
        )
    return pipeline


def check_params(params: Params, allowed: Collection[str], whose: str) -> None:
    """Raises ForeignCode if params.yaml would import a module that is not `allowed`, or read weights elsewhere."""
    if named := [each for each in params.model.plugins if each not in allowed]:
        raise ForeignCode(
            f"params.yaml of {whose} imports {named[0][:80]!r}; if that is a module of yours, "
            "say --allow-plugin with its name"
        )
    weights = PurePosixPath(params.model.weights)
    if weights.is_absolute() or ".." in weights.parts:
        raise ForeignCode(f"params.yaml of {whose} reads weights outside its folder: {str(weights)[:80]!r}")
