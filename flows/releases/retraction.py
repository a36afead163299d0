"""Withdrawing a correction, and taking that back: decisions that outlast the night.

A decision is a record written once (`flows.releases.decision`). The record comes first and is what every later night
honours; then live.json is swapped to say so in the log, which also makes a night that runs at this moment lose its
swap. A crash in between is mended by giving the command again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Live, read_file
from errata.data.releases.numbered import put_numbered
from errata.data.storage.base import Storage
from errata.editing.errors import NightError
from errata.flows.releases.decision import Claim, Decision, Verb, as_correction
from errata.flows.releases.pointer import announce, require_live, verified
from errata.flows.releases.standing import decisions


def record_decision(
    storage: Storage, standing: Mapping[Claim, Decision], correction: Correction, action: Verb, *, by: str, why: str
) -> Decision:
    """Record a person's decision, unless a person's of the same kind stands already; returns the one that stands."""
    old = standing.get(correction.claim)
    if old and (old.action, old.cause) == (action, "person"):
        return old
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def numbered(number: int) -> Decision:
        about = correction.id, correction.expected, correction.reports
        return Decision(*about, number, action, "person", by, why, now)

    return put_numbered(storage, 1, numbered)


def retract(storage: Storage, prefix: str, expected: str | None = None, *, by: str, why: str) -> tuple[Decision, Live]:
    """Withdraw a correction in force: the next night makes a release without it, and its reports are refused.

    `prefix` begins its identity. Raises NightError if that names none, or several.
    """
    live, _ = require_live(storage)
    manifest = verified(storage, live.version, live.manifest_sha256)
    held = Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode()).corrections
    standing = decisions(storage, live)
    out = [as_correction(each) for each in standing.values() if each.action == "retracted"]
    correction = one_of(held, out, prefix, expected, f"in force in release {live.version}")
    decision = record_decision(storage, standing, correction, "retracted", by=by, why=why)
    return decision, announce(storage, decision.action, decision.key, by=decision.by, why=decision.why)


def reinstate(
    storage: Storage, prefix: str, expected: str | None = None, *, by: str, why: str
) -> tuple[Decision, Live]:
    """Take a withdrawal back: the next night solves for the correction again, if the model still gets it wrong."""
    live, _ = require_live(storage)
    standing = decisions(storage, live)
    out = [as_correction(each) for each in standing.values() if each.action == "retracted"]
    back = [as_correction(each) for each in standing.values() if each.action == "reinstated"]
    correction = one_of(out, back, prefix, expected, "retracted")
    if standing[correction.claim].cause == "erasure":
        raise NightError(f"the photo of {correction.id[:12]} was erased: nothing can be solved for without it")
    decision = record_decision(storage, standing, correction, "reinstated", by=by, why=why)
    return decision, announce(storage, decision.action, decision.key, by=decision.by, why=decision.why)


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
