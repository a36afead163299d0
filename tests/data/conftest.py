"""Reports in a store."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from errata.data.images import Pixels, encode_png
from errata.data.reports import Report, make_report, put_report
from errata.data.storage import Storage

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def picture(seed: int, size: int = 8) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def file_one(storage: Storage) -> Callable[..., Report]:
    """File a report of picture `seed` that it is a cat (or as said), without any check."""

    def put(seed: int, expected: str = "cat", content: bytes | None = None, **claim: object) -> Report:
        content = encode_png(picture(seed)) if content is None else content
        report = make_report(content, expected, filed_at=NOON, **claim)  # type: ignore[arg-type]
        return put_report(storage, report, content)

    return put
