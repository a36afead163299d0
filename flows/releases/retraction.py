"""Withdrawing a correction, and taking that back: decisions that outlast the night.

A decision is a record written once under `retracted/<correction>/`; of several about one claim the last one stands. The
record comes first and is what every later night honours; then live.json is swapped to say so in the log, which also
makes a night that runs at this moment lose its swap. A crash in between is mended by giving the command again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from data import layout
from data.ledger import Correction, Ledger
from data.manifest import Live, read_file
from data.records import STRICT, wrong_fields
from data.storage.base import Storage
from editing.errors import AlreadyStored, Damaged, NightError, StoreError, Superseded
from flows.releases.pointer import log_entries, make_live, require_live, verified

SWAPS = 5  # attempts at live.json while others write it
RECORDS = 100  # attempts at a free number while others decide about the same correction

Claim = tuple[str, str]
Verb = Literal["retracted", "reinstated"]
Cause = Literal["person", "rollback"]


@dataclass(frozen=True, config=STRICT)
class Decision:
    """That the claim "image `correction` is of class `expected`" is withdrawn, or back; `reports` were behind it.

    It is the correction's decision number `number`. `cause`: "person" for a decision about this very correction,
    "rollback" for one that a rollback brought along.
    """

    correction: str
    expected: str
    reports: tuple[str, ...]
    number: Annotated[int, Field(ge=1)]
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
        try:
            return _DECISION.validate_json(content)
        except ValidationError as error:
            wrong = wrong_fields(error, "the record")
            raise Damaged(f"{where} cannot be read ({wrong}); restore it: it says what must not come back") from error


_DECISION = TypeAdapter(Decision)


def decisions(storage: Storage) -> dict[Claim, Decision]:
    """The decision that stands on each claim that was ever withdrawn."""
    found = {}
    for key in storage.keys(layout.RETRACTED):
        decision = Decision.from_json(storage.get(key), f"{storage.url}/{key}")
        found[decision.claim] = decision  # keys come in order, so a later one overrides
    return found


def record_decision(
    storage: Storage, correction: Correction, action: Verb, *, cause: Cause, by: str, why: str
) -> Decision:
    """Record a decision, unless it stands already; returns the one that stands."""
    old = decisions(storage).get(correction.claim)
    if old and old.action == action:
        return old
    for number in range(1, RECORDS):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        decision = Decision(correction.id, correction.expected, correction.reports, number, action, cause, by, why, now)
        with suppress(AlreadyStored):
            storage.put_once(decision.key, decision.to_json())
            return decision
    raise StoreError(f"{storage.url}/{layout.RETRACTED}{correction.id} takes no new record; look at it")


def retract(storage: Storage, prefix: str, expected: str | None = None, *, by: str, why: str) -> tuple[Decision, Live]:
    """Withdraw a correction in force: the next night makes a release without it, and its reports are refused.

    `prefix` begins its identity. Raises NightError if that names none, or several.
    """
    live, _ = require_live(storage)
    manifest = verified(storage, live.version, live.manifest_sha256)
    held = Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode()).corrections
    out = [as_correction(each) for each in decisions(storage).values() if each.action == "retracted"]
    correction = one_of(held, out, prefix, expected, f"in force in release {live.version}")
    decision = record_decision(storage, correction, "retracted", cause="person", by=by, why=why)
    return decision, announce(storage, decision)


def reinstate(
    storage: Storage, prefix: str, expected: str | None = None, *, by: str, why: str
) -> tuple[Decision, Live]:
    """Take a withdrawal back: the next night solves for the correction again, if the model still gets it wrong."""
    known = decisions(storage).values()
    out = [as_correction(each) for each in known if each.action == "retracted"]
    back = [as_correction(each) for each in known if each.action == "reinstated"]
    correction = one_of(out, back, prefix, expected, "retracted")
    decision = record_decision(storage, correction, "reinstated", cause="person", by=by, why=why)
    return decision, announce(storage, decision)


def announce(storage: Storage, decision: Decision) -> Live:
    """Log the decision by a swap of live.json that keeps the version; once, also if a crash came before."""
    for _ in range(SWAPS):
        live, tag = require_live(storage)
        if any(each.about == decision.key for each in (live, *log_entries(storage))):
            return live
        manifest = verified(storage, live.version, live.manifest_sha256)
        with suppress(Superseded):
            return make_live(
                storage,
                manifest,
                (live, tag),
                action=decision.action,
                by=decision.by,
                why=decision.why,
                about=decision.key,
            )
    raise Superseded(f"{decision.action}, and that stands, but live.json changes too fast to log it; try again")


def as_correction(decision: Decision) -> Correction:
    """The correction that a decision is about."""
    return Correction(decision.correction, decision.expected, decision.reports)


def one_of(
    first: Iterable[Correction], otherwise: Iterable[Correction], prefix: str, expected: str | None, state: str
) -> Correction:
    """The correction whose identity begins with `prefix`; raises NightError on none or several.

    It is of `first` if it is there, else of `otherwise`, where the same command given again finds it.
    """
    for corrections in (first, otherwise):
        found = [
            each for each in corrections if prefix and each.id.startswith(prefix) and expected in (None, each.expected)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{each.id[:12]} ({each.expected})" for each in found[:5])
            raise NightError(f"{prefix} begins {len(found)} corrections {state}: {names}; say more, or --expected")
    raise NightError(f"no correction {state} begins with {prefix!r}; `errata show` lists those in force")
