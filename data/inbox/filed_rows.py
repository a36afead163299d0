"""One row of a batch becomes an object in the inbox, and its image one under its digest."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any

from errata.data import layout
from errata.data.inbox.batch_rows import PATH, Row
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import parse_report
from errata.data.storage.base import Storage, is_key
from errata.editing.errors import AlreadyStored, DataError, NotStored, TooLarge, Unreadable

_REASONS: dict[type[Exception], Reason] = {
    NotStored: Reason.MISSING_IMAGE,
    DataError: Reason.MISSING_IMAGE,
    Unreadable: Reason.UNREADABLE,
    TooLarge: Reason.TOO_LARGE,
}


class RowFiler:
    """Files rows of the batch `key`; threads may share it. Images whose digest is `erased` are not stored."""

    def __init__(self, storage: Storage, key: str, max_image_bytes: int, erased: frozenset[str]) -> None:
        self._storage, self._key, self._most, self._erased = storage, key, max_image_bytes, erased

    def file(self, row: Row) -> bytes | Refusal | None:
        """File one row with its image. What is no report is given back, or a refusal if its image cannot be had."""
        if not row.document.strip() or (row.image is None and self._put_report(row.document)):
            return None
        fields = _fields(row.document)
        if row.image is None and PATH not in fields:
            return row.document
        path, claimed, image = fields.pop(PATH, None), fields.get("image"), row.image
        if image is None:
            try:
                image = self._storage.get(_beside(self._key, path), at_most=self._most)
            except (NotStored, Unreadable, TooLarge, DataError) as error:
                return Refusal(row_id(row), _REASONS[type(error)], f"{self._key}: {error}; mend it, then file anew")
        digest = hashlib.sha256(image).hexdigest()
        if digest not in self._erased:
            with suppress(AlreadyStored, Unreadable):  # intake holds what is there against its digest
                self._storage.put_once(layout.image(digest), image)
        if claimed not in (None, digest):
            detail = f"{self._key}: its image is {digest}, not {claimed!r:.70} as it says; mend it, then file anew"
            return Refusal(row_id(row), Reason.DIGEST_MISMATCH, detail)
        document = json.dumps(fields | {"image": digest}).encode()
        if not fields:
            return row.document
        return None if self._put_report(document) else document

    def delete_beside(self, row: Row) -> None:
        """Remove the image beside the batch that a filed row names, for the store has it by its digest; it stays if the
        row was refused."""
        fields = _fields(row.document)
        if row.image is not None or PATH not in fields:
            return
        try:
            beside = _beside(self._key, fields[PATH])
            self._storage.size(layout.quarantined_report(row_id(row)))
        except DataError:
            return
        except NotStored:
            self._storage.delete(beside)

    def _put_report(self, document: bytes) -> bool:
        """File a report; False if it is none."""
        try:
            report = parse_report(document)
        except DataError:
            return False
        put_document(self._storage, report.id, report.to_json())
        return True


def put_document(storage: Storage, name: str, document: bytes) -> None:
    """Write what the night shall look at under a name of its own."""
    with suppress(AlreadyStored, Unreadable):  # the same claim, filed before; intake judges what is there
        storage.put_once(layout.inbox_report(name), document)


def content(row: Row) -> bytes:
    """What tells a row from another."""
    return row.document if row.image is None else row.document + hashlib.sha256(row.image).digest()


def row_id(row: Row) -> str:
    """What stands for the identity of a row that lacks its image."""
    return hashlib.sha256(content(row)).hexdigest()


def _fields(document: bytes) -> dict[str, Any]:
    """The fields of a JSON object; none of anything else."""
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _beside(batch: str, path: object) -> str:
    """The key of an image by its path as seen from the batch. Raises DataError if no image can lie there."""
    if not batch.startswith(layout.BULK):
        raise DataError(f"images beside a batch lie under {layout.BULK}, with the batch")
    key = f"{batch.rpartition('/')[0]}/{path}"
    if not isinstance(path, str) or not is_key(key):
        raise DataError(f"{path!r:.100} is no path from the batch's folder downwards")
    return key
