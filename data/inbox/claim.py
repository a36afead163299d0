"""What a readable report with its image comes to: a claim."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Claim:
    """An accepted report without its pixels.

    `image`: SHA-256 of its file; `correction`: pixel digest of the fitted image; `now`: the class that the live model
    predicts for that; `control`: whether it is one of the control set, or nearly (`data.inbox.control_guard`).
    """

    report_id: str
    image: str
    correction: str
    expected: str
    predicted: str | None
    reporter: str
    filed_at: datetime
    now: str
    control: bool = False
