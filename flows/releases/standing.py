"""Which decision stands on each correction: people's records, and what follows from the rollbacks in the log.

A rollback writes nothing but live.json and its entry of the log. What it means for corrections is derived from that
entry by whoever asks: what the release that it left held and its target lacks stays out. Going forward to a later
release, what rollbacks took and this release holds returns. What a person decided afterwards overrides both. What was
erased stays out for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from errata.data.releases.erasure import erasures
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import Live, Manifest, read_file, read_manifest
from errata.data.releases.replay import replay_of
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored
from errata.flows.releases.decision import Claim, Decision, Verb, recorded_decisions
from errata.flows.releases.pointer import log_entries

Held = tuple[Correction, ...]


@dataclass(frozen=True)
class Effect:
    """What a rollback means: `dropped` stay out, `regained` return."""

    dropped: Held
    regained: Held


def decisions(storage: Storage, live: Live) -> dict[Claim, Decision]:
    """The decision that stands on each claim about which there ever was one.

    `live` is the pointer as it was read: after a crash the log may lack it. Raises Damaged if a record, an entry of the
    log or a release that a rollback left cannot be read: nobody knows then what must not come back.
    """
    log = {each.serial: each for each in (*log_entries(storage), live)}
    steps: list[tuple[int, Decision | None]] = [(each.serial, None) for each in log.values() if _is_rollback(each)]
    steps += _placed(recorded_decisions(storage), log)
    standing: dict[Claim, Decision] = {}
    held: dict[int, Held] = {}
    for serial, decision in sorted(steps, key=lambda step: (step[0], step[1] is not None)):
        if decision is not None:
            standing[decision.claim] = decision
        else:
            standing |= _derived(storage, log, serial, standing, held)
    for erasure in erasures(storage):
        for each in erasure.corrections:
            standing[each.claim] = Decision(
                each.id, each.expected, each.reports, 0, "retracted", "erasure", erasure.by, erasure.why, erasure.at
            )
    return standing


def effect_of(standing: Mapping[Claim, Decision], held: Held, kept: Held, *, forward: bool) -> Effect:
    """What leaving a release that holds `held` for one that holds `kept` means; `forward`: to a later version."""
    stays = {each.claim for each in kept}
    taken = {claim for claim, each in standing.items() if (each.action, each.cause) == ("retracted", "rollback")}
    return Effect(
        dropped=tuple(each for each in held if each.claim not in stays),
        regained=tuple(each for each in kept if forward and each.claim in taken),
    )


def held_by(storage: Storage, manifest: Manifest) -> Held:
    """The corrections that shaped a release: those of its ledger, and those that its root was taught.

    Raises NotStored or Damaged.
    """
    return replay_of(storage, manifest).grown(0, edited_by(storage, manifest)).corrections


def edited_by(storage: Storage, manifest: Manifest) -> Held:
    """The corrections of a release's ledger, to which its root was edited. Raises NotStored or Damaged."""
    return Ledger.from_jsonl(read_file(storage, manifest, "ledger.jsonl").decode()).corrections


def _is_rollback(entry: Live) -> bool:
    return entry.action == "rolled back"


def _placed(records: Iterable[Decision], log: Mapping[int, Live]) -> list[tuple[int, Decision]]:
    """Each record with the change of live.json after which it counts: the one that told of it.

    One that no entry tells of, as a crash came between or a rollback of version 0.1 wrote it, counts by its time; of
    one correction's, never before the record that came earlier.
    """
    told = {each.about: serial for serial, each in sorted(log.items(), reverse=True)}
    placed, latest = [], dict[str, int]()
    for each in records:
        by_time = max((serial for serial, entry in log.items() if entry.at[:19] <= each.at[:19]), default=0)
        latest[each.correction] = max(told.get(each.key, by_time), latest.get(each.correction, 0))
        placed.append((latest[each.correction], each))
    return placed


def _derived(
    storage: Storage, log: Mapping[int, Live], serial: int, standing: Mapping[Claim, Decision], held: dict[int, Held]
) -> dict[Claim, Decision]:
    """The decisions that one rollback brought along; `held` remembers what was read of each release."""
    entry, left = log[serial], log.get(serial - 1)
    if left is None:
        raise Damaged(f"the log of {storage.url} lacks change {serial - 1}, which a rollback left; restore it")
    forward = entry.version > left.version

    def of(which: Live) -> Held:
        if which.version not in held:
            try:
                manifest = read_manifest(storage, which.version, which.manifest_sha256)
                held[which.version] = held_by(storage, manifest)
            except (NotStored, Damaged) as fault:
                why = f"rollback {serial} rests on its ledger, which says what must not come back"
                raise Damaged(f"release {which.version}: {fault}. {why}; restore it") from fault
        return held[which.version]

    if not entry.about and not forward:  # nothing was left that could be read, or records say it (version 0.1)
        return {}
    effect = effect_of(standing, of(left) if entry.about else (), of(entry), forward=forward)

    def decide(corrections: Held, action: Verb) -> dict[Claim, Decision]:
        return {
            each.claim: Decision(
                each.id, each.expected, each.reports, 0, action, "rollback", entry.by, entry.why, entry.at
            )
            for each in corrections
        }

    out = {claim for claim, each in standing.items() if each.action == "retracted"}
    dropped = tuple(each for each in effect.dropped if each.claim not in out)
    return decide(dropped, "retracted") | decide(effect.regained, "reinstated")
