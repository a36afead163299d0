"""Every parameter with its type, unit, default and meaning, from the types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from errata.editing.settings import Section
from errata.flows.params.sections import Params

KINDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


@dataclass(frozen=True)
class Parameter:
    """`path` as in `gate.drawdown`; `allowed`: its type and limits, in words."""

    path: str
    allowed: str
    unit: str
    default: Any
    meaning: str


@dataclass(frozen=True)
class SectionOf:
    """A section by its path ("" is the file itself), what it is about, and its own parameters."""

    path: str
    about: str
    parameters: tuple[Parameter, ...]


def sections(record: Section | None = None, path: str = "") -> Iterator[SectionOf]:
    """The sections of `record`, by default of params.yaml, each followed by those within it."""
    record = record or Params()
    schema = type(record).model_json_schema()["properties"]
    inner = {name: value for name, value in record if isinstance(value, Section)}
    yield SectionOf(
        path,
        type(record).__doc__ or "",
        tuple(
            Parameter(
                f"{path}.{name}".lstrip("."),
                allowed(schema[name]),
                schema[name].get("unit", ""),
                value,
                schema[name].get("description", ""),
            )
            for name, value in record
            if name not in inner
        ),
    )
    for name, value in inner.items():
        yield from sections(value, f"{path}.{name}".lstrip("."))


def allowed(schema: dict[str, Any]) -> str:
    """What a JSON Schema of one parameter allows, in words."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "anyOf" in schema:
        return " or ".join(allowed(each) for each in schema["anyOf"])
    if schema["type"] == "array" and "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])} {allowed(schema['prefixItems'][0])}s"
    if schema["type"] == "array":
        return f"list of {allowed(schema['items'])}s" if schema["items"]["type"] != "string" else "list of texts"
    if schema["type"] == "object":
        return f"mapping of names to {allowed(schema['additionalProperties'])}"
    limits = [f"{words} {schema[key]:g}" for key, words in LIMITS.items() if key in schema]
    return f"{KINDS[schema['type']]}{', ' if limits else ''}{' and '.join(limits)}"
