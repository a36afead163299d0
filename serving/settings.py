"""The limits of a service."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from errata.data.images import ImageLimits


@dataclass(frozen=True)
class Settings:
    """Limits of a service; where one is full, who has been waited for the longest gives way.

    `image`: of an image file. `connections` may be open at once, `per_client` of one address (0: any number, as behind
    a gateway, whose address they all have). `header_seconds` to the end of a request's header, `body_seconds` for its
    body. `in_progress` bodies may arrive at once, and as many may wait for one of the `workers`, which each decode and
    predict an image. `reports` says whether `/report` is offered.
    """

    image: ImageLimits = field(default_factory=lambda: ImageLimits(max_bytes=8 * 2**20))
    connections: int = 512
    per_client: int = 64
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    in_progress: int = 128
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    reports: bool = True
