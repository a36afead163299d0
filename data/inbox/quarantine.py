"""Where reports go from the inbox: to quarantine with a typed reason, back again, or to what a release consumed.

Every move writes first and removes after, and may be repeated: a crash in between leaves a report in both places, and
the next night removes the one in the inbox. None is ever lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Literal

from pydantic import AwareDatetime, Base64Bytes, BaseModel, ConfigDict, ValidationError

from errata.data import layout
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, DataError, NotStored, StoreError, TooLarge, Unreadable

_MOST_BYTES_KEPT = 2**20


class Quarantined(BaseModel):
    """A refused report: `text` as it was filed, `base64` instead if that is not UTF-8, neither if it was too large."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["errata-quarantine/1"] = "errata-quarantine/1"
    id: str
    reason: Reason
    detail: str
    when: AwareDatetime
    text: str | None = None
    base64: Base64Bytes | None = None

    @property
    def content(self) -> bytes | None:
        """The report's bytes as they were filed."""
        return self.base64 if self.text is None else self.text.encode()

    def to_json(self) -> bytes:
        """Readable JSON."""
        return (self.model_dump_json(indent=1, exclude_none=True) + "\n").encode()


def quarantine(storage: Storage, refusal: Refusal, when: datetime) -> None:
    """Move a report from the inbox to quarantine with its reason.

    One that is too large, or that cannot be read, stays in the inbox; its record says so once.
    """
    inbox, target = layout.inbox_report(refusal.report_id), layout.quarantined_report(refusal.report_id)
    try:
        content = storage.get(inbox, at_most=_MOST_BYTES_KEPT)
    except (TooLarge, NotStored, Unreadable):
        with suppress(AlreadyStored, Unreadable):  # the record of an earlier night stands
            storage.put_once(target, _record(refusal, when, None).to_json())
        return
    _replace(storage, target, _record(refusal, when, content))
    storage.delete(inbox)


def keep_refused(storage: Storage, refusal: Refusal, content: bytes, when: datetime) -> None:
    """Keep what was refused before it ever came to the inbox."""
    _replace(storage, layout.quarantined_report(refusal.report_id), _record(refusal, when, content))


def _record(refusal: Refusal, when: datetime, content: bytes | None) -> Quarantined:
    record = Quarantined(id=refusal.report_id, reason=refusal.reason, detail=refusal.detail, when=when)
    if content is None:
        return record
    try:
        return record.model_copy(update={"text": content.decode()})
    except UnicodeDecodeError:
        return record.model_copy(update={"base64": content})


def _replace(storage: Storage, key: str, record: Quarantined) -> None:
    """Write the record over one of an earlier refusal of the same report, which the inbox still holds."""
    try:
        storage.put_once(key, record.to_json())
    except (AlreadyStored, Unreadable):
        storage.delete(key)
        storage.put_once(key, record.to_json())


def quarantined(storage: Storage) -> Iterator[Quarantined]:
    """Everything in quarantine, in the order of identities. Raises Damaged or Unreadable on a bad record."""
    for key in storage.keys(layout.QUARANTINE):
        yield read_quarantined(storage, key)


def read_quarantined(storage: Storage, key: str) -> Quarantined:
    """The record under `key`; raises Damaged, NotStored or Unreadable."""
    try:
        return Quarantined.model_validate_json(storage.get(key))
    except ValidationError as error:
        raise Damaged(f"{storage.url}/{key} is no quarantine record; look at it, then remove it") from error


def one_quarantined(storage: Storage, prefix: str) -> str:
    """The identity of the one report in quarantine that begins with `prefix`; raises DataError if none or several."""
    found = [layout.stem(key) for key in islice(storage.keys(layout.QUARANTINE + prefix), 2)] if prefix else []
    if len(found) != 1:
        how_many = "several reports" if found else "no report"
        raise DataError(f"{how_many} in quarantine begin with {prefix!r}; `errata quarantine` lists them all")
    return found[0]


def requeue(storage: Storage, report_id: str) -> None:
    """Send a report back to the inbox, as it was filed, and count anew how often it is left out.

    Raises NotStored, StoreError if its bytes were never kept.
    """
    key = layout.quarantined_report(report_id)
    content = read_quarantined(storage, key).content
    if content is None:
        raise StoreError(f"report {report_id} was never kept: too large, or it cannot be read; mend what was filed")
    storage.delete(layout.deferred_report(report_id))
    with suppress(AlreadyStored):  # the same claim was filed again meanwhile
        storage.put_once(layout.inbox_report(report_id), content)
    storage.delete(key)


def settle(storage: Storage, report_ids: Iterable[str], version: int) -> None:
    """Move reports from the inbox to what release `version` consumed; one that has gone already is success.

    One that cannot be read any more stays: the next night finds it in the ledger, or refuses it.
    """
    for report_id in report_ids:
        inbox = layout.inbox_report(report_id)
        try:
            content = storage.get(inbox, at_most=_MOST_BYTES_KEPT)
            with suppress(AlreadyStored):  # settled by a run that died here, and the same claim was filed again since
                storage.put_once(layout.settled_report(version, report_id), content)
        except (NotStored, Unreadable, TooLarge):
            continue
        storage.delete(inbox)
