"""The claims that wait in the inbox for more people, as the last night saw them: a pointer, for whoever asks by day.

reports/waiting.json   {"format", "at", "run", "claims": [{"correction", "expected", "doubt", "reports", ...}]}
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.inbox.what_waits import is_single
from errata.data.records import STRICT, canonical_json, parse_record
from errata.data.storage.base import Storage
from errata.editing.errors import NotStored, Superseded


@dataclass(frozen=True, order=True, config=STRICT)
class Waiting:
    """A side that waits in the inbox: image, class, its doubt, its reports, and what it waits for.

    `more`: how many more people would have to say the same; None where only a trusted reporter's word helps.
    """

    correction: str
    expected: str
    doubt: float
    reports: tuple[str, ...]
    needs: str
    more: int | None


@dataclass(frozen=True, config=STRICT)
class WaitingClaims:
    """What one night left waiting, and when."""

    at: str
    run: str
    claims: tuple[Waiting, ...]
    format: Literal["errata-waiting/1"] = "errata-waiting/1"


_WAITING = TypeAdapter(WaitingClaims)


def keep_waiting(storage: Storage, found: WaitingClaims) -> None:
    """Leave what waits, in place of what the night before left; where nothing ever waited, nothing is written."""
    try:
        tag = storage.read(layout.WAITING).tag
    except NotStored:
        if not found.claims:
            return
        tag = None
    with suppress(Superseded):  # another night was faster: its list is as good
        storage.swap(layout.WAITING, canonical_json(found), expected=tag)


def still_waiting(storage: Storage) -> tuple[WaitingClaims | None, int]:
    """What the last night left waiting, less what has gone from the inbox since; and how many reports in the inbox are
    not among it, for the next night to look at. Raises Damaged."""
    inbox = {layout.stem(key) for key in storage.keys(layout.INBOX) if is_single(key)}
    found = last_waiting(storage)
    if found is None:
        return None, len(inbox)
    claims = tuple(each for each in found.claims if inbox & set(each.reports))
    return replace(found, claims=claims), len(inbox - {report for each in claims for report in each.reports})


def last_waiting(storage: Storage) -> WaitingClaims | None:
    """What the last night left waiting, as it wrote it; None where nothing ever waited. Raises Damaged."""
    try:
        content = storage.read(layout.WAITING).content
    except NotStored:
        return None
    return parse_record(
        _WAITING, content, f"{storage.url}/{layout.WAITING}", "remove it; the next night writes it anew"
    )
