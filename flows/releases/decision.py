"""A decision on a correction: that it is withdrawn, or back. One record a decision, written once.

    retracted/<correction>/<n>.json    {"format", "correction", "expected", "reports", "number", "action", "cause", ...}

Which of them stands is told by `flows.releases.standing`, with what rollbacks took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.records import STRICT, Count, parse_record
from errata.data.releases.ledger import Correction
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged

Claim = tuple[str, str]
Verb = Literal["retracted", "reinstated"]
Cause = Literal["person", "rollback", "erasure"]


@dataclass(frozen=True, config=STRICT)
class Decision:
    """That the claim "image `correction` is of class `expected`" is withdrawn, or back; `reports` were behind it.

    `cause`: "person" for a decision about this very correction, "rollback" for one that a rollback brought along,
    "erasure" where its photo was erased. It is the correction's decision number `number`, from 1; 0 if it has no record
    of its own, for it follows from the log or from an erasure. (Version 0.1 wrote
    a record for each correction that a rollback took; those are read as what they say.)
    """

    correction: str
    expected: str
    reports: tuple[str, ...]
    number: Count
    action: Verb
    cause: Cause
    by: str
    why: str
    at: str
    format: Literal["errata-decision/1"] = "errata-decision/1"

    @property
    def claim(self) -> Claim:
        """What the decision is about."""
        return self.correction, self.expected

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return layout.retraction(self.correction, self.number)

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()

    @staticmethod
    def from_json(content: bytes, where: str) -> Decision:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        restore = "restore it: it says what must not come back"
        decision = parse_record(_DECISION, content, where, restore)
        if not decision.number:
            raise Damaged(f"{where} cannot be read (number: records count from 1); {restore}")
        return decision


_DECISION = TypeAdapter(Decision)


def recorded_decisions(storage: Storage) -> Iterator[Decision]:
    """Every record, those about one correction in the order of their numbers. Raises Damaged."""
    for key in storage.keys(layout.RETRACTED):
        yield Decision.from_json(storage.get(key), f"{storage.url}/{key}")


def as_correction(decision: Decision) -> Correction:
    """The correction that a decision is about."""
    return Correction(decision.correction, decision.expected, decision.reports)
