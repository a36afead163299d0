"""What all records that cross a border share: strict types, no unknown fields, a refusal that names the field."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, StringConstraints, ValidationError

STRICT = ConfigDict(strict=True, extra="forbid")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def wrong_fields(error: ValidationError, record: str) -> str:
    """Every field that is wrong, and how; `record` names the whole where no field does."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or record}: {problem['msg']}"
        for problem in problems
        if problem["type"] != "default_factory_not_called"  # a computed default, when another field is wrong
    )[:500]
    return "".join(letter if letter.isprintable() else "?" for letter in said)  # a field's name may be an attack
