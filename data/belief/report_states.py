"""What became of a report: its one state, read from where the store keeps it.

    in the inbox     new, waiting for more people, or deferred
    in quarantine    refused, with its reason
    settled          behind a correction that the live release holds, holds no more, or cannot hold
    erased           with the photo that it spoke of

A claim that is filed again after it was refused lies in the inbox as well: it is looked at again, so that counts. What
nobody has filed singly yet (a line of a batch, before the night) is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from errata.data import layout
from errata.data.belief.waiting import Waiting, last_waiting
from errata.data.inbox.deferred import deferral_of
from errata.data.inbox.quarantine import Quarantined, read_quarantined
from errata.data.inbox.refusals import Reason
from errata.data.inbox.what_waits import is_single
from errata.data.releases.edit_record import WHY_DEFERRED, EditRecord
from errata.data.releases.erasure import Erasure, erasures
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_file, read_live, read_manifest
from errata.data.releases.replay import replay_of
from errata.data.reports import MAX_REPORT_BYTES, Report, parse_report
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, DataError, NotStored, TooLarge, Unreadable

_READERS = 8  # a store answers late, but several at once
_PLACES = (layout.INBOX, layout.QUARANTINE, layout.SETTLED)


class State(StrEnum):
    """Where a report stands."""

    NEW = "new"  # in the inbox: no night has looked at it yet
    WAITING = "waiting"  # in the inbox, for more people or a trusted one to say the same
    DEFERRED = "deferred"  # in the inbox: left out of a release for harm, and tried again
    REFUSED = "refused"  # in quarantine, with a reason
    IN_RELEASE = "in release"  # behind a correction that the live release holds
    NOT_HELD = "not held"  # consumed by a release, and the live one does not hold its correction: gone, or no slot can
    ERASED = "erased"  # gone with its photo, because somebody asked


IN_INBOX = frozenset({State.NEW, State.WAITING, State.DEFERRED})


@dataclass(frozen=True)
class ReportState:
    """One report's state, and a sentence that tells it. `report` is None where it cannot be read, or is gone.

    `reason`: of a refusal; `version`: the release that consumed it; `doubt` and `more`: of a claim that waits, and how
    many more people would have to say the same (None: only a trusted one's word helps); `at`: since when, in ISO 8601,
    or of a claim that waits when it was last looked at, "" where the store does not say.
    """

    id: str
    state: State
    sentence: str
    report: Report | None = None
    reason: Reason | None = None
    version: int | None = None
    doubt: float | None = None
    more: int | None = None
    at: str = ""


def report_state(storage: Storage, report_id: str) -> ReportState:
    """What became of one report. Raises NotStored if there is none of this identity, Damaged, StoreError."""
    return _States(storage, None).of(report_id)


def states_of(storage: Storage, reports: Iterable[str]) -> Iterator[ReportState]:
    """What became of some reports, less those of which nobody knows. Raises Damaged, StoreError."""
    states = _States(storage, None)
    for name in reports:
        with suppress(NotStored):
            yield states.of(name)


def report_states(storage: Storage) -> Iterator[ReportState]:
    """What became of each report, in the order of identities; of each its own object is read, and one or two more.

    Raises Damaged, StoreError.
    """
    known = frozenset(key for prefix in (*_PLACES, layout.DEFERRED) for key in storage.keys(prefix))
    states = _States(storage, known)
    names = {layout.stem(key) for key in known if key.startswith(_PLACES[1:]) or is_single(key)}

    def attempt(name: str) -> ReportState | None:
        try:
            return states.of(name)
        except NotStored:  # a night moved it since it was listed
            return None

    with ThreadPoolExecutor(_READERS, thread_name_prefix="reports") as pool:
        yield from (found for found in pool.map(attempt, sorted({*names, *states.erased})) if found)


def one_report(storage: Storage, prefix: str) -> str:
    """The identity of the one report that begins with `prefix`; raises DataError if none or several do."""
    places = (layout.INBOX + prefix, layout.QUARANTINE + prefix, layout.SETTLED)
    found = {layout.stem(key) for place in places for key in storage.keys(place)} if prefix else set()
    found |= {report for erasure in erasures(storage) for report in erasure.reports}
    found = {name for name in found if name.startswith(prefix)} if prefix else set()
    if len(found) != 1:
        raise DataError(f"{len(found) or 'no'} reports begin with {prefix!r}; `errata reports` lists them all")
    return found.pop()


@dataclass(frozen=True)
class _Live:
    """The live release: the reports behind its corrections, each with why that does not hold, "" where it does."""

    version: int
    reports: Mapping[str, str]


class _States:
    """The states of reports, from one reading of what is common to all; `known`: all keys, where they were listed."""

    def __init__(self, storage: Storage, known: frozenset[str] | None) -> None:
        self._storage, self._known = storage, known

    def of(self, name: str) -> ReportState:
        """The state of one report."""
        content, refused = self._get(layout.inbox_report(name)), self._quarantined(name)
        if self._live and name in self._live.reports:
            why = self._live.reports[name]
            return self._consumed(name, State.NOT_HELD if why else State.IN_RELEASE, content, why)
        if content is not None and (refused is None or refused.content is not None):
            return self._in_inbox(name, _parsed(content))
        if refused is not None:
            said = f"{refused.reason}: {refused.detail}"
            report = _parsed(refused.content or content)
            at = refused.when.isoformat(timespec="seconds")
            return ReportState(name, State.REFUSED, said, report, reason=refused.reason, at=at)
        if name in self.settled:
            return self._consumed(name, State.NOT_HELD, content)
        if erasure := self.erased.get(name):
            said = f"its photo was erased on {erasure.at[:10]}, because somebody asked for it"
            return ReportState(name, State.ERASED, said, at=erasure.at)
        raise NotStored(f"{self._storage.url} has no report {name}")

    def _in_inbox(self, name: str, report: Report | None) -> ReportState:
        key = layout.deferred_report(name)
        if (self._known is None or key in self._known) and (deferred := deferral_of(self._storage, name)):
            said = f"left out of a release in {deferred.nights} nights ({deferred.why}); the next night tries again"
            return ReportState(name, State.DEFERRED, said, report)
        at, sides = self._waiting
        if side := sides.get(name):
            more = f": {side.more} more" if side.more else ""
            said = f"its claim has a doubt of {side.doubt:.0%}, and waits for {side.needs}{more}"
            return ReportState(name, State.WAITING, said, report, doubt=side.doubt, more=side.more, at=at)
        return ReportState(name, State.NEW, "the next night looks at it", report)

    def _consumed(self, name: str, state: State, content: bytes | None, why: str = "") -> ReportState:
        version = self.settled.get(name)
        if content is None and version is not None:
            content = self._get(layout.settled_report(version, name))
        taken = f"release {version} took it in" if version is not None else "it is taken in"
        if self._live:
            holds = "holds" if state == State.IN_RELEASE else "does not hold"
            taken += f"; release {self._live.version}, which is live, {holds} its correction"
        said = f"{taken}: {why}; every later release tries again" if why else taken
        return ReportState(name, state, said, _parsed(content), version=version)

    @cached_property
    def settled(self) -> dict[str, int]:
        """The first release that consumed each report."""
        keys = self._storage.keys(layout.SETTLED) if self._known is None else self._known
        found: dict[str, int] = {}
        for key in keys:
            number = key.removeprefix(layout.SETTLED).partition("/")[0]
            if key.startswith(layout.SETTLED) and number.isdecimal():
                name = layout.stem(key)
                found[name] = min(int(number), found.get(name, int(number)))
        return found

    @cached_property
    def erased(self) -> dict[str, Erasure]:
        """The erasure of each report that was erased."""
        return {report: erasure for erasure in erasures(self._storage) for report in erasure.reports}

    @cached_property
    def _live(self) -> _Live | None:
        """The live release, and the reports behind what its ledger has or its root was taught."""
        found = read_live(self._storage)
        if found is None:
            return None
        try:
            manifest = read_manifest(self._storage, found[0].version, found[0].manifest_sha256)
            ledger = Ledger.from_jsonl(read_file(self._storage, manifest, "ledger.jsonl").decode())
            unheld = EditRecord.from_json(read_file(self._storage, manifest, "edit.json")).deferred
            taught = replay_of(self._storage, manifest).corrections
        except NotStored as fault:  # not to be taken for a report that is not there
            raise Damaged(f"{fault}, and it is live; `errata rollback` to a release that verifies") from fault
        why = {each.id: WHY_DEFERRED[unheld[each.id]] for each in ledger.corrections if each.id in unheld}
        behind = {name: why.get(each.id, "") for each in ledger.corrections for name in each.reports}
        return _Live(manifest.version, behind | {name: "" for each in taught for name in each.reports})

    @cached_property
    def _waiting(self) -> tuple[str, dict[str, Waiting]]:
        """When the last night looked, and the side that each report is on that it left waiting."""
        found = last_waiting(self._storage)
        return (found.at, {report: side for side in found.claims for report in side.reports}) if found else ("", {})

    def _quarantined(self, name: str) -> Quarantined | None:
        key = layout.quarantined_report(name)
        if self._known is not None and key not in self._known:
            return None
        try:
            return read_quarantined(self._storage, key)
        except NotStored:
            return None

    def _get(self, key: str) -> bytes | None:
        """An object's bytes; None if it is not there, nothing if it is and cannot be read."""
        if self._known is not None and key not in self._known:
            return None
        try:
            return self._storage.get(key, at_most=MAX_REPORT_BYTES)
        except NotStored:
            return None
        except (TooLarge, Unreadable):
            return b""


def _parsed(content: bytes | None) -> Report | None:
    try:
        return parse_report(content or b"")
    except (DataError, Damaged):
        return None
