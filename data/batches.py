"""Many reports in one file: JSON Lines and CSV in the inbox, filed one by one before the night reads them.

    reports/inbox/<anything>.jsonl   a report (errata-report/1) on every line
    reports/inbox/<anything>.csv     the schema's field names, then a report on every line; empty cells are absent
    reports/inbox/<anything>         one report

Every line becomes an object of its own: a report under its identity, and a line that is no report, as it is, under the
digest of its bytes, so that intake refuses it with a reason. Only then is the batch removed; a crash in between files
the same objects again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from data import layout
from data.reports import parse_report
from data.storage.base import Storage
from editing.errors import AlreadyStored, DataError, NotStored, TooLarge

_SINGLE = re.compile(re.escape(layout.INBOX) + r"[0-9a-f]{64}\.json")


def is_single(key: str) -> bool:
    """Whether an inbox key has the form of one report under its identity."""
    return _SINGLE.fullmatch(key) is not None


def oversize_id(key: str) -> str:
    """What stands for the identity of a batch that is too large to be read."""
    return hashlib.sha256(key.encode()).hexdigest()


def file_singly(storage: Storage, max_bytes: int) -> list[str]:
    """Replace every batch in the inbox by its single reports; the keys of those over `max_bytes`, which stay."""
    left = []
    with ThreadPoolExecutor(8, thread_name_prefix="batches") as pool:
        for key in storage.keys(layout.INBOX):
            if is_single(key):
                continue
            try:
                content = storage.get(key, at_most=max_bytes)
            except NotStored:  # another run was faster
                continue
            except TooLarge:
                left.append(key)
                continue
            for filed in pool.map(lambda line: _file(storage, line), _lines(key, content)):
                filed  # noqa: B018 - raises what the store raised
            storage.delete(key)
    return left


def _file(storage: Storage, line: bytes) -> None:
    try:
        report = parse_report(line)
        name, line = report.id, report.to_json()
    except DataError:
        name = hashlib.sha256(line).hexdigest()
    try:
        storage.put_once(layout.inbox_report(name), line)
    except AlreadyStored:  # the same claim, filed before at another time
        return


def _lines(key: str, content: bytes) -> Iterator[bytes]:
    """The JSON documents in a batch; a batch that cannot be taken apart is one document, for intake to refuse."""
    if key.endswith(".jsonl"):
        return (line for line in content.splitlines() if line.strip())
    if key.endswith(".csv"):
        try:
            return iter(_rows(content.decode("utf-8-sig")))
        except (UnicodeDecodeError, csv.Error):
            pass
    return iter([content])


def _rows(text: str) -> list[bytes]:
    """Each row of a table as a JSON document; what does not fit the schema is left for it to refuse."""
    documents = []
    for row in csv.DictReader(io.StringIO(text, newline=""), restkey="cells without a column", strict=True):
        fields: dict[str, object] = {name: cell for name, cell in row.items() if cell}
        version = fields.get("model_version")
        if isinstance(version, str) and re.fullmatch(r"[0-9]{1,10}", version):
            fields["model_version"] = int(version)
        documents.append(json.dumps(fields).encode())
    return documents
