"""What reporters got right before, as far as the store tells: by name, however it was spelt.

Right is what a release consumed and nobody has withdrawn since; wrong is what was withdrawn, what stronger reports
contradicted, and what nobody came to say as well. Of each a few hundred are read, so that a night does not take longer
with every year: of what was released the last, of what was refused a sample (they are kept in the order of digests).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from heapq import nlargest
from itertools import islice

from errata.data import layout
from errata.data.belief.doubt import Record
from errata.data.belief.names import same_reporter
from errata.data.inbox.quarantine import read_quarantined
from errata.data.inbox.refusals import Reason
from errata.data.reports import MAX_REPORT_BYTES, parse_report
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored, TooLarge, Unreadable

_WRONG = {Reason.CONFLICT, Reason.RETRACTED, Reason.NO_QUORUM}
_MOST = 300


def track_records(storage: Storage, withdrawn: Collection[str], most: int = _MOST) -> dict[str, Record]:
    """Each reporter's record. `withdrawn`: reports behind corrections that somebody withdrew.

    What cannot be read says nothing about anybody. Raises StoreUnusable if the store does not answer.
    """
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for key in nlargest(most, storage.keys(layout.SETTLED), key=_version):
        if name := _settled_by(storage, key):
            (wrong if layout.stem(key) in withdrawn else right)[name] += 1
    for key in islice(storage.keys(layout.QUARANTINE), most):
        if name := _refused_to(storage, key):
            wrong[name] += 1
    return {name: Record(right[name], wrong[name]) for name in {*right, *wrong}}


def _settled_by(storage: Storage, key: str) -> str | None:
    try:
        return same_reporter(parse_report(storage.get(key, at_most=MAX_REPORT_BYTES)).reporter)
    except (NotStored, Unreadable, TooLarge, DataError):
        return None


def _refused_to(storage: Storage, key: str) -> str | None:
    try:
        record = read_quarantined(storage, key)
        return same_reporter(parse_report(record.content or b"").reporter) if record.reason in _WRONG else None
    except (NotStored, Unreadable, Damaged, DataError):
        return None


def _version(key: str) -> tuple[int, str]:
    number = key.removeprefix(layout.SETTLED).partition("/")[0]
    return (int(number) if number.isdecimal() else -1, key)
