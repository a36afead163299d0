"""A candidate that passed the gate waits in shadow until services have seen enough of it (`gate.shadow_requests`).

    first night    gate passes -> bundle published, not live -> candidate.json -> inconclusive: nothing was seen yet
    services       ask it beside what is live, and write down what they saw
    later nights   the same candidate again, byte for byte, new reports left for later -> enough seen? -> release

So what is released is what was in shadow. Once enough was seen and the gate says no, the next night goes on with
all reports, to another candidate.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from errata.data.releases.candidate import Candidate, point_at_candidate, read_candidate, seen_counts
from errata.flows.gate.criterion import GateResult, Name
from errata.flows.gate.shadow import ShadowSample, sample_of, shadow_row
from errata.flows.night.release import put_bundle
from errata.flows.night.state import Batch, Night, Parent
from errata.flows.night.step import STORE_AWAY, step
from errata.flows.releases.contents.bundle import build_bundle


def wanted(night: Night) -> bool:
    """Whether a candidate must have been in shadow."""
    return night.workspace.params.gate.shadow_requests > 0


@step("take up candidate", waits=STORE_AWAY)
def take_up_candidate(night: Night, parent: Parent, batch: Batch) -> tuple[Batch, int]:
    """The batch to go on with, and the version to make of it.

    While a candidate of this very parent has not been seen enough, or has passed, and everything in it still is agreed
    on, the batch is that candidate's; else it is all of `batch`, under a version that no candidate has taken.
    """
    found, free = read_candidate(night.storage), parent.live.newest + 1
    if found is None or found.version < free:
        return batch, free
    if found.parent != parent.live.manifest_sha256 or not _agreed(found, batch) or _refused(night, found):
        return batch, found.version + 1
    left = len(batch.corrections) - len(found.corrections)
    others = f"; {left} other new corrections are left for another night" if left else ""
    night.log(f"candidate {found.version} is in shadow, and is made again{others}")
    return replace(batch, corrections=found.corrections), found.version


@step("shadow", waits=STORE_AWAY)
def hold_against_shadow(night: Night, parent: Parent, batch: Batch, gate_result: GateResult) -> GateResult:
    """The gate's answer with what services saw of the workspace's candidate, which is in shadow from now on.

    Raises AlreadyStored if its version's files are taken.
    """
    bundle = build_bundle(night.workspace)
    put_bundle(night, bundle, parent.live)
    version, digest = bundle.manifest.version, bundle.manifest.digest
    found = read_candidate(night.storage)
    if found is None or (found.manifest_sha256, found.parent) != (digest, parent.live.manifest_sha256):
        at = datetime.now(UTC).isoformat(timespec="seconds")
        candidate = Candidate(
            version, digest, parent.live.manifest_sha256, batch.corrections, batch.withdrawn, night.name, at
        )
        point_at_candidate(night.storage, candidate)
    params = night.workspace.params.gate
    sample = _sample(night, digest, parent.live.manifest_sha256)
    seen = f"services saw {sample.requests} of {params.shadow_requests} requests, {sample.worse} answered otherwise"
    night.log(f"candidate {version} in shadow: {seen}")
    return replace(gate_result, criteria=(*gate_result.criteria, shadow_row(sample, params)))


def shadow_sentence(gate_result: GateResult) -> str:
    """What services saw of the candidate, for the log: its bundle cannot hold what was seen of it."""
    rows = [each for each in gate_result.criteria if each.name == Name.SHADOW]
    return "".join(f"; in shadow {round(each.n * each.value) if each.n else 0} of {each.n} otherwise" for each in rows)


def _agreed(candidate: Candidate, batch: Batch) -> bool:
    """Whether the batch still has every correction of a candidate, and withdraws the same."""
    claims = {each.claim for each in batch.corrections}
    return batch.withdrawn == candidate.withdrawn and all(each.claim in claims for each in candidate.corrections)


def _refused(night: Night, candidate: Candidate) -> bool:
    """Whether enough was seen of a candidate, and it did not pass."""
    params = night.workspace.params.gate
    sample = _sample(night, candidate.manifest_sha256, candidate.parent)
    return sample.enough(params) and shadow_row(sample, params).verdict != "pass"


def _sample(night: Night, candidate: str, live: str) -> ShadowSample:
    return sample_of(seen_counts(night.storage, candidate, live), night.workspace.params.gate)
