"""The limits of a service."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from errata.data.connections import ConnectionLimits
from errata.data.images import ImageLimits


@dataclass(frozen=True, kw_only=True)
class Settings(ConnectionLimits):
    """Limits of a service: those of its connections, and more.

    `image`: of an image file. `in_progress` bodies may arrive at once, and as many may wait for one of the `workers`,
    which each decode and predict an image. `reports` says whether `/report` is offered.
    """

    image: ImageLimits = field(default_factory=lambda: ImageLimits(max_bytes=8 * 2**20))
    in_progress: int = 128
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    reports: bool = True
