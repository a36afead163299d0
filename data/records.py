"""What all records that cross a border share: strict types, no unknown fields, a refusal that names the field."""

from __future__ import annotations

import json
import math
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import to_json

from errata.editing.errors import Damaged

Record = TypeVar("Record")
STRICT = ConfigDict(strict=True, extra="forbid")
Count = Annotated[int, Field(ge=0)]
Real = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]  # null in JSON is NaN here
MOST_WRITTEN_OUT = 2**20
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


def parse_record(record: TypeAdapter[Record], content: bytes, what: str, advice: str) -> Record:
    """A record from its JSON; raises Damaged on any other document: `what` it is, each wrong field, `advice`."""
    try:
        return record.validate_json(content)
    except ValidationError as error:
        raise Damaged(f"{what} cannot be read ({wrong_fields(error, 'the record')}); {advice}") from error


def written_out(document: object) -> str:
    """A document of YAML as JSON.

    Raises ValueError beyond `MOST_WRITTEN_OUT` characters, for a few lines of aliases may stand for terabytes, and what
    `json` raises on what it has no word for.
    """
    pieces, size = [], 0
    for piece in json.JSONEncoder(default=str).iterencode(document):
        pieces.append(piece)
        size += len(piece)
        if size > MOST_WRITTEN_OUT:
            raise ValueError(f"it has more than {MOST_WRITTEN_OUT:,} characters with its aliases written out")
    return "".join(pieces)


def canonical_json(content: object) -> bytes:
    """Readable JSON of a record, or of plain data: names in order, so that the same content has the same bytes.

    NaN and infinity, which JSON has no word for, become null.
    """
    plain = json.loads(to_json(content, inf_nan_mode="null"))
    return (json.dumps(plain, sort_keys=True, indent=1) + "\n").encode()
