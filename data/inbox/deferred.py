"""Deferred reports: valid ones that were left out of a release for harm. They stay in the inbox and come back.

A record beside the inbox counts the nights: `reports/deferred/<id>.json`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errata.data import layout
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored, Unreadable


class Deferred(BaseModel):
    """How many `nights` a report was left out, why the last time, and by which run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    nights: int = Field(ge=1)
    why: str
    run: str = ""


def defer(storage: Storage, report_id: str, why: str, run: str) -> Deferred:
    """Count one more night, once for each `run`; returns the record.

    Raises Superseded if another night counts at the same moment.
    """
    key = layout.deferred_report(report_id)
    try:
        found = storage.read(key)
        known = _parse(storage, key, found.content)
        if known.run == run:  # the step is tried again, after a store that was away
            return known
        nights, tag = known.nights, found.tag
    except NotStored:
        nights, tag = 0, None
    except Unreadable:  # a counter holds up no night: it counts anew
        storage.delete(key)
        nights, tag = 0, None
    record = Deferred(id=report_id, nights=nights + 1, why=why, run=run)
    storage.swap(key, (record.model_dump_json() + "\n").encode(), expected=tag)
    return record


def deferred(storage: Storage) -> Iterator[Deferred]:
    """Every record, in the order of identities. Raises Damaged on one that cannot be read."""
    for key in storage.keys(layout.DEFERRED):
        try:
            yield _parse(storage, key, storage.read(key).content)
        except (NotStored, Unreadable):  # forgotten since it was listed, or counted anew at the next time
            continue


def deferral_of(storage: Storage, report_id: str) -> Deferred | None:
    """The record of one report, if it was ever left out. Raises Damaged, Unreadable."""
    key = layout.deferred_report(report_id)
    try:
        return _parse(storage, key, storage.read(key).content)
    except NotStored:
        return None


def forget(storage: Storage, report_ids: Iterable[str]) -> None:
    """Drop the records of reports that have left the inbox; one that has none is success."""
    for report_id in report_ids:
        storage.delete(layout.deferred_report(report_id))


def _parse(storage: Storage, key: str, content: bytes) -> Deferred:
    try:
        return Deferred.model_validate_json(content)
    except ValidationError as error:
        raise Damaged(
            f"{storage.url}/{key} is no record of a deferral; remove it, and counting starts again"
        ) from error
