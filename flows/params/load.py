"""params.yaml read and checked as a whole: every fault is told, each with its path and what is allowed there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from errata.data.records import written_out
from errata.editing.errors import DataError
from errata.flows.params.listing import sections
from errata.flows.params.sections import Params


def parse_params(content: bytes, name: str = "params.yaml") -> Params:
    """Parameters from YAML 1.2, which is how DVC reads it; raises DataError naming every fault, of the file `name`."""
    try:
        document = YAML(typ="safe", pure=True).load(content)
        document = {} if document is None else document
        if not isinstance(document, dict):
            raise DataError(f"{name}: must hold sections of parameters, `edit:` say; docs/parameters.md lists them")
        given = {key: value for key, value in document.items() if value is not None}  # an empty section
        text = written_out(given)
    except (YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, RecursionError) as error:  # keys that are no names, an alias of itself
        raise DataError(f"{name} holds what no parameter can: {error}") from error
    try:
        return Params.model_validate_json(text)
    except ValidationError as error:
        faults = _faults(error, given)
        told = faults[0] if len(faults) == 1 else f"{len(faults)} faults\n  " + "\n  ".join(faults)
        raise DataError(f"{name}: {told}") from error


def _faults(error: ValidationError, given: dict[str, Any]) -> list[str]:
    """A sentence for each parameter that is wrong."""
    parameters = {one.path: one.allowed for each in sections() for one in each.parameters}
    allowed = {each.path: "mapping of its parameters" for each in sections()} | parameters
    told: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        path = ".".join(str(word) for word in fault["loc"])
        if fault["type"] == "extra_forbidden":
            told[path] = f"no parameter is called so; {_known(path, allowed)}"
        elif fault["type"] != "default_factory_not_called":  # a computed default, where another parameter is wrong
            while path not in allowed:  # a fault within a list or a mapping is one of the parameter that holds it
                path = _parent(path)
            value: Any = given
            for word in path.split("."):
                value = value.get(word) if isinstance(value, dict) else value
            told[path] = f"{shorten(json.dumps(value, default=str), 80)} is not allowed; it takes: {allowed[path]}"
    return [f"{path}: {sentence}" for path, sentence in told.items()]


def _known(path: str, known: Iterable[str]) -> str:
    """What there is where `path` is not: the name that is most like it, or all of them."""
    names = [each.rpartition(".")[2] for each in known if each and _parent(each) == _parent(path)]
    near = get_close_matches(path.rpartition(".")[2], names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
