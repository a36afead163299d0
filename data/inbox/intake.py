"""The inbox, streamed: each report parsed, checked, its image fetched, verified, decoded and fitted; or refused.

Nothing here judges a claim (`data.belief.trust` does); a refusal says that a report cannot be used at all. Memory
holds a few reports at a time, however many wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from errata.data import layout
from errata.data.images import ImageLimits, Pixels, decode_image, fit_image, pixel_digest
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.inbox.batches import file_singly
from errata.data.inbox.claim import Claim
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.inbox.what_waits import is_single
from errata.data.reports import MAX_REPORT_BYTES, Report, parse_report, read_image
from errata.data.storage.base import Storage
from errata.editing.engine import Engine, ThisProcess
from errata.editing.errors import Damaged, DataError, NotStored, TooLarge, Unreadable

Predict = Callable[[Pixels], NDArray[np.integer[Any]]]
IsControl = Callable[[Pixels], NDArray[np.bool_]]
_ERASED = "this photo was erased because somebody asked for it; it is not taken again"
_BLOCK = 128  # reports that are read together
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class IntakeSettings:
    """Limits in bytes and pixels; `fetch_ahead`: how many reports are fetched ahead of the one at hand; `erased`:
    digests of image files, and of pixels at the model's input size, that are not taken again."""

    image: ImageLimits = field(default_factory=ImageLimits)
    max_report_bytes: int = MAX_REPORT_BYTES
    batch: BatchLimits = field(default_factory=BatchLimits)
    fetch_ahead: int = 16
    erased: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Accepted:
    """A report that can be used. `pixels`: uint8 of the model's image shape; `correction`: their `pixel_digest`.

    `width` and `height`: of the image as it was sent.
    """

    report: Report
    correction: str
    pixels: Pixels
    width: int
    height: int


@dataclass(frozen=True)
class _Fetched:
    report: Report
    image: bytes


def read_inbox(
    storage: Storage,
    classes: Sequence[str],
    image_shape: tuple[int, int, int],
    settings: IntakeSettings | None = None,
    engine: Engine | None = None,
) -> Iterator[Accepted | Refusal]:
    """Every report in the inbox, in the order of identities: as it can be used, or why it cannot.

    Batches are filed as single reports first (`data.inbox.batches`); else nothing is changed: `data.inbox.quarantine`
    empties the inbox. An object that cannot be read is refused, and stays. The `engine`, by default this process, reads
    some reports at a time. Raises StoreUnusable if the store does not answer.
    """
    settings = settings or IntakeSettings()
    yield from file_singly(storage, settings.batch, settings.erased)
    singles = (key for key in storage.keys(layout.INBOX) if is_single(key))
    blocks = iter(lambda: tuple(islice(singles, _BLOCK)), ())
    read = partial(_read, storage, frozenset(classes), image_shape, settings)
    yield from chain.from_iterable((engine or ThisProcess()).map(read, blocks))


def _read(
    storage: Storage,
    classes: frozenset[str],
    image_shape: tuple[int, int, int],
    settings: IntakeSettings,
    keys: Sequence[str],
) -> list[Accepted | Refusal]:
    """What some keys of the inbox come to."""

    def fetch(key: str) -> _Fetched | Refusal | None:
        return _fetch(storage, key, classes, settings)

    found: list[Accepted | Refusal] = []
    with ThreadPoolExecutor(8, thread_name_prefix="intake") as pool:
        for fetched in _ahead(pool, fetch, keys, settings.fetch_ahead):
            if isinstance(fetched, _Fetched):
                found.append(_decode(fetched, image_shape, settings))
            elif fetched is not None:
                found.append(fetched)
    return found


def _fetch(storage: Storage, key: str, classes: frozenset[str], settings: IntakeSettings) -> _Fetched | Refusal | None:
    """The report under `key` with its image's bytes; None if it has gone since it was listed."""
    report_id = layout.stem(key)
    try:
        report = parse_report(storage.get(key, at_most=settings.max_report_bytes))
    except NotStored:
        return None
    except Unreadable as error:
        return Refusal(report_id, Reason.UNREADABLE, str(error))
    except (TooLarge, DataError) as error:
        return Refusal(report_id, Reason.TOO_LARGE if isinstance(error, TooLarge) else Reason.MALFORMED, str(error))
    if report.id != report_id:
        return Refusal(report_id, Reason.MALFORMED, f"it is filed under another report's name; its own is {report.id}")
    unknown = {report.expected, report.predicted} - classes - {None}
    if unknown:
        detail = f"{', '.join(map(repr, sorted(map(str, unknown))))} is none of the model's {len(classes)} classes"
        return Refusal(report_id, Reason.UNKNOWN_CLASS, detail)
    return _with_evidence(storage, report, settings)


def _with_evidence(storage: Storage, report: Report, settings: IntakeSettings) -> _Fetched | Refusal:
    if report.image in settings.erased:
        return Refusal(report.id, Reason.ERASED, _ERASED)
    try:
        return _Fetched(report, read_image(storage, report.image, settings.image))
    except NotStored:
        return Refusal(report.id, Reason.MISSING_IMAGE, f"no image {report.image} is stored; store it, then requeue")
    except Unreadable as error:
        return Refusal(report.id, Reason.UNREADABLE, str(error))
    except TooLarge as error:
        return Refusal(report.id, Reason.TOO_LARGE, str(error))
    except Damaged as error:
        return Refusal(report.id, Reason.DIGEST_MISMATCH, str(error))


def _decode(fetched: _Fetched, image_shape: tuple[int, int, int], settings: IntakeSettings) -> Accepted | Refusal:
    report = fetched.report
    try:
        sent = decode_image(fetched.image, settings.image)
        pixels = fit_image(sent, image_shape)
    except TooLarge as error:
        return Refusal(report.id, Reason.TOO_LARGE, str(error))
    except DataError as error:
        return Refusal(report.id, Reason.UNDECODABLE_IMAGE, str(error))
    if (correction := pixel_digest(pixels)) in settings.erased:
        return Refusal(report.id, Reason.ERASED, _ERASED)
    return Accepted(report, correction, pixels, width=sent.shape[1], height=sent.shape[0])


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """`map(work, items)` in order, with at most `ahead` results waiting: a store answers late, but several at once."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def as_claims(
    accepted: Iterable[Accepted], classes: Sequence[str], predict: Predict, is_control: IsControl, block: int = 256
) -> Iterator[Claim]:
    """Each accepted report as a claim, without its pixels, in blocks: what the live model predicts, whether the image
    is of the control set. `predict` takes uint8 `[n, h, w, c]` to class indices `[n]`, `is_control` to booleans."""
    waiting = iter(accepted)
    while items := list(islice(waiting, block)):
        pixels = np.stack([item.pixels for item in items])
        for item, index, control in zip(items, predict(pixels), is_control(pixels), strict=True):
            report = item.report
            yield Claim(
                report_id=report.id,
                image=report.image,
                correction=item.correction,
                expected=report.expected,
                predicted=report.predicted,
                reporter=report.reporter,
                filed_at=report.filed_at,
                now=classes[int(index)],
                control=bool(control),
            )


def evidence(
    storage: Storage, claim: Claim, image_shape: tuple[int, int, int], limits: ImageLimits | None = None
) -> Pixels:
    """The fitted pixels behind a claim, fetched again: a night keeps only those that it needs.

    Raises Damaged, NotStored or Unreadable if the stored image has changed or gone since, or cannot be read any more.
    """
    content = read_image(storage, claim.image, limits)
    pixels = fit_image(decode_image(content, limits), image_shape)
    if pixel_digest(pixels) != claim.correction:
        raise Damaged(
            f"image {claim.image} no longer fits to correction {claim.correction[:12]}; start the night again"
        )
    return pixels
