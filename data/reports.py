"""The report: one claim that this image was predicted P and should be E. Schema `errata-report/1`."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from errata.data import layout
from errata.data.images import ImageLimits, decode_image
from errata.data.records import STRICT, Sha256, wrong_fields
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, DataError, StoreUnusable, Unreadable

FORMAT: Literal["errata-report/1"] = "errata-report/1"
MAX_REPORT_BYTES = 16 * 1024

Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Note = Annotated[str, StringConstraints(max_length=2000)]


_CLAIM = ("image", "expected", "predicted", "reporter", "model_version")


def claim_digest(fields: dict[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of the five fields of a claim: a report's identity.

    When it was filed is no part of it, so the same claim twice is one report.
    """
    claim = {name: fields[name] for name in _CLAIM}
    return hashlib.sha256(json.dumps(claim, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Report(BaseModel):
    """A filed claim: `errata-report/1`. An `id` that is given must be the claim's digest."""

    model_config = ConfigDict(frozen=True, **STRICT)

    format: Literal["errata-report/1"] = FORMAT
    image: Sha256 = Field(description="SHA-256 of the image file, which lies under images/<sha256>")
    expected: Name = Field(description="the class that the image should be")
    predicted: Name | None = Field(default=None, description="the class that was predicted, if known")
    reporter: Name = Field(default="anonymous", description="the person or system that says so")
    model_version: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        default=None, description="the release that predicted it, if known"
    )
    filed_at: AwareDatetime = Field(description="when it was filed, with its offset from UTC")
    note: Note = Field(default="", description="anything a person wants to add")
    id: Sha256 = Field(default_factory=claim_digest, description="digest of the claim; computed if left out")

    @model_validator(mode="after")
    def _something_to_correct(self) -> Self:
        if self.predicted == self.expected:
            raise ValueError("predicted and expected are the same class: there is nothing to correct")
        return self

    @field_validator("filed_at", mode="after")
    @classmethod
    def _is_a_time_anywhere(cls, filed_at: datetime) -> datetime:
        try:
            filed_at.astimezone(UTC)
        except OverflowError:
            raise ValueError("it is before the year 1 or after the year 9999 in UTC") from None
        return filed_at

    @model_validator(mode="after")
    def _id_is_the_digest(self) -> Self:
        right = claim_digest(dict(self))
        if self.id != right:
            raise ValueError(f"id is not the digest of the claim ({right}); leave it out to have it computed")
        return self

    def to_json(self) -> bytes:
        """Canonical JSON: `parse_report(report.to_json()) == report`."""
        return (json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n").encode()


def parse_report(content: bytes) -> Report:
    """A report from JSON; raises DataError that names every field that is wrong."""
    try:
        return Report.model_validate_json(content)
    except ValidationError as error:
        raise DataError(f"not a report of {FORMAT}: {wrong_fields(error, 'report')}") from error


def report_schema() -> dict[str, Any]:
    """The JSON Schema of a report, made from the type."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Report.model_json_schema(),
        "title": FORMAT,
    }


def make_report(
    content: bytes,
    expected: str,
    *,
    predicted: str | None = None,
    reporter: str = "anonymous",
    model_version: int | None = None,
    note: str = "",
    filed_at: datetime | None = None,
) -> Report:
    """The report that the image file `content` should be `expected`; raises DataError if a field is not allowed."""
    try:
        return Report(
            image=hashlib.sha256(content).hexdigest(),
            expected=expected,
            predicted=predicted,
            reporter=reporter,
            model_version=model_version,
            note=note,
            filed_at=filed_at or datetime.now(UTC),
        )
    except ValidationError as error:
        raise DataError(f"the report cannot be filed: {wrong_fields(error, 'report')}") from error


def file_report(
    storage: Storage,
    content: bytes,
    expected: str,
    *,
    predicted: str | None = None,
    reporter: str = "anonymous",
    model_version: int | None = None,
    note: str = "",
    filed_at: datetime | None = None,
    limits: ImageLimits | None = None,
) -> Report:
    """File the claim that the image file `content` should be `expected`: the evidence first, then the report.

    The same claim again is the same report (the one first filed is returned). Raises DataError if the image cannot be
    decoded or a field is not allowed, TooLarge beyond `limits`, StoreError.
    """
    decode_image(content, limits)
    report = make_report(
        content,
        expected,
        predicted=predicted,
        reporter=reporter,
        model_version=model_version,
        note=note,
        filed_at=filed_at,
    )
    return put_report(storage, report, content)


def read_image(storage: Storage, image: str, limits: ImageLimits | None = None) -> bytes:
    """The image file with SHA-256 `image`, as it was sent; of one that has more bytes than `limits` allow none is read.

    Raises TooLarge, Damaged, NotStored, Unreadable.
    """
    return storage.get(layout.image(image), sha256=image, at_most=(limits or ImageLimits()).max_bytes)


def put_report(storage: Storage, report: Report, content: bytes) -> Report:
    """Store the image file and then its report, unlooked at; returns the report that the inbox has of this claim.

    Needs the right to write only: what a reporter may not read again is held against its digest by the night.
    """
    image, key = layout.image(report.image), layout.inbox_report(report.id)
    try:
        storage.put_once(image, content)
    except AlreadyStored:
        with suppress(StoreUnusable, Unreadable):
            storage.get(image, sha256=report.image, at_most=len(content))  # raises if other bytes lie under this digest
    try:
        storage.put_once(key, report.to_json())
    except AlreadyStored:  # the same claim, filed before at another time
        with suppress(StoreUnusable, Unreadable):
            return parse_report(storage.get(key, at_most=MAX_REPORT_BYTES))
    return report
