"""Why a report cannot be used: one typed reason each, kept with the report in quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The reasons, in the order in which they are looked for."""

    MALFORMED = "malformed"  # not a report of the documented schema
    TOO_LARGE = "too large"  # more bytes or pixels than the limits allow
    UNREADABLE = "unreadable"  # the store has it and cannot give it: no permission, an archive, no file
    UNKNOWN_CLASS = "unknown class"  # the expected class is none of the model's
    MISSING_IMAGE = "missing image"  # no object under images/<sha256>
    DIGEST_MISMATCH = "digest mismatch"  # the stored image is not the one that was reported
    UNDECODABLE_IMAGE = "undecodable image"  # truncated, animated, of no allowed format, or no image
    INVALID = "invalid"  # cannot be true, or breaks a critical rule of the night's table
    CONTROL_IMAGE = "control-set image"  # equal or nearly equal to an image that judges releases
    NOT_REPRODUCIBLE = "not reproducible"  # the live model does not predict what the report says
    ALREADY_RIGHT = "already right"  # the live model predicts the expected class
    ERASED = "erased"  # a person's photo that somebody asked to be erased, and that is not taken again
    RETRACTED = "retracted"  # somebody withdrew this correction, and nobody has reinstated it
    DUPLICATE = "duplicate"  # the ledger has this correction, or this reporter already said so
    CONFLICT = "conflict"  # reports of one image contradict each other, and no side has the quorum
    REPORTER_CAP = "reporter over its cap"  # more reports in one night than one reporter may bring
    NO_QUORUM = "no quorum"  # too few reporters said the same for too long
    HARMFUL = "harmful"  # a correction that was deferred for harm too often


@dataclass(frozen=True)
class Refusal:
    """One report, why it is refused, and the particulars in a sentence."""

    report_id: str
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{self.report_id[:12]}: {self.reason}: {self.detail}"
