"""What any label tool is given and gives back: the claims that nobody decided yet, and people's answers as reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from errata.data.belief.trust import TrustSettings
from errata.data.images import decode_image, encode_png
from errata.data.releases.erasure import erased_digests
from errata.data.reports import Report, make_report, put_report, read_image
from errata.data.storage.base import Storage
from errata.editing.errors import DataError
from errata.flows.cli.review.live import Desk, Looked
from errata.flows.cli.review.queue import Side, read_queue
from errata.flows.releases.classes import check_class


@dataclass(frozen=True)
class Task:
    """A claim to look at: `picture` is its image, as a PNG file that this program encoded."""

    side: Side
    looked: Looked
    picture: bytes


@dataclass(frozen=True)
class Annotation:
    """That somebody says that the image file `image` is of class `expected`."""

    image: str
    expected: str
    reporter: str


def open_tasks(desk: Desk, trust: TrustSettings) -> Iterator[Task]:
    """The claims that nobody decided yet and whose image can be looked at, those that waited first."""
    start: int | None = 0
    while start is not None:
        page = read_queue(desk, trust, 0, "", start)
        for side in page.sides:
            if side.looked and not side.decided:
                content = read_image(desk.storage, side.image)
                yield Task(side, side.looked, encode_png(decode_image(content)))
        start = page.following


def file_annotations(storage: Storage, classes: tuple[str, ...], found: list[Annotation], note: str) -> list[Report]:
    """File each as its annotator's report: all or, where one cannot be, none. Raises DataError, NotStored, Damaged.

    An annotation that says what the model says is filed as well: it adds to the doubt of who contradicts the model.
    """
    erased = erased_digests(storage)
    made = []
    for each in found:
        check_class(each.expected, classes)
        if each.image in erased:
            raise DataError(f"image {each.image[:12]} was erased because somebody asked for it; take it out")
        content = read_image(storage, each.image)
        made.append((make_report(content, each.expected, reporter=each.reporter, note=note), content))
    return [put_report(storage, report, content) for report, content in made]
