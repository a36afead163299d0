"""The ledger: every correction in force, in canonical order, content-addressed.

    ledger.jsonl            {"format": "errata-ledger/1", "version": 3}
                            {"id": "<pixel digest>", "expected": "7", "reports": ["<report id>", ...]}
    images/<id>.png         what the correction's image looks like at the model's input size

`Ledger.from_jsonl(ledger.to_jsonl()) == ledger`, and equal ledgers have equal bytes, whatever the order of arrival.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from errata.data.images import decode_image, fit_image, pixel_digest
from errata.data.records import STRICT, Count, wrong_fields
from errata.editing.errors import Damaged, DataError

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, config=STRICT)
class _Header:
    """The first line."""

    version: Count
    format: Literal["errata-ledger/1"]


@dataclass(frozen=True, order=True, config=STRICT)
class Correction:
    """An accepted claim: the image with pixel digest `id` is of class `expected`; `reports` are those behind it."""

    id: str
    expected: str
    reports: tuple[str, ...] = ()

    @property
    def claim(self) -> tuple[str, str]:
        """What is claimed, whoever says so."""
        return self.id, self.expected


@dataclass(frozen=True, config=STRICT)
class Ledger:
    """The corrections of release `version`, sorted by `id`, one correction an image."""

    version: Count
    corrections: tuple[Correction, ...] = ()

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.corrections))
        if len({correction.id for correction in ordered}) != len(ordered):
            raise DataError("the ledger holds two corrections of one image; leave one line")
        object.__setattr__(self, "corrections", ordered)

    def to_jsonl(self) -> str:
        """Canonical JSON Lines: a header, then one line a correction."""
        lines = [asdict(_Header(self.version, "errata-ledger/1"))]
        lines += [{**asdict(each), "reports": sorted(each.reports)} for each in self.corrections]
        return "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines)

    @staticmethod
    def from_jsonl(text: str) -> Ledger:
        """Parse `to_jsonl`'s output; raises DataError naming the line and the field that is wrong."""
        first, *rest = text.splitlines() or [""]
        header = _parsed(_HEADER, first, 1)
        corrections = (_parsed(_CORRECTION, line, number) for number, line in enumerate(rest, 2))
        return Ledger(header.version, tuple(corrections))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return hashlib.sha256(self.to_jsonl().encode()).hexdigest()

    def grown(self, version: int, batch: Iterable[Correction]) -> Ledger:
        """The next ledger: this one's corrections and the batch's, which win where both speak of one image."""
        merged = {each.id: each for each in self.corrections}
        for each in batch:
            old = merged.get(each.id)
            known = set(old.reports) if old and old.expected == each.expected else set()
            merged[each.id] = Correction(each.id, each.expected, tuple(sorted(known | set(each.reports))))
        return Ledger(version, tuple(merged.values()))

    def without(self, version: int, ids: Iterable[str]) -> Ledger:
        """This ledger less the corrections named."""
        gone = set(ids)
        return Ledger(version, tuple(each for each in self.corrections if each.id not in gone))


_HEADER, _CORRECTION = TypeAdapter(_Header), TypeAdapter(Correction)
_Line = TypeVar("_Line")


def _parsed(kind: TypeAdapter[_Line], line: str, number: int) -> _Line:
    try:
        return kind.validate_json(line)
    except ValidationError as error:
        raise DataError(f"ledger line {number} cannot be read ({wrong_fields(error, 'the line')})") from error


def write_ledger(folder: Path, ledger: Ledger, images: Mapping[str, bytes]) -> None:
    """Lay out `folder` for the edit stage; the same ledger and images give the same bytes.

    `images`: PNG files by correction id; raises DataError if one is missing.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    wanted = {each.id for each in ledger.corrections}
    if missing := wanted - set(images):
        raise DataError(f"no image for correction {sorted(missing)[0]}; the store has lost it")
    for stale in (folder / "images").glob("*.png"):
        if stale.stem not in wanted:
            stale.unlink()
    for name in sorted(wanted):
        (folder / "images" / f"{name}.png").write_bytes(images[name])
    (folder / "ledger.jsonl").write_text(ledger.to_jsonl())


def load_ledger(folder: Path) -> Ledger:
    """The ledger in `folder`, without its images."""
    path = folder / "ledger.jsonl"
    try:
        return Ledger.from_jsonl(path.read_text())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; `make setup` or a night puts one there") from error


def read_ledger(folder: Path, image_shape: tuple[int, int, int]) -> tuple[Ledger, Pixels]:
    """The ledger and its images, uint8 `[corrections, height, width, channels]` in its order.

    Raises Damaged if an image is not the one its correction names.
    """
    ledger = load_ledger(folder)
    images = np.empty((len(ledger.corrections), *image_shape), np.uint8)
    for index, correction in enumerate(ledger.corrections):
        image = folder / "images" / f"{correction.id}.png"
        if not image.is_file():
            raise DataError(f"{image} is missing; fetch it again from the store, or take the line out of the ledger")
        images[index] = fit_image(decode_image(image.read_bytes()), image_shape)
        if pixel_digest(images[index]) != correction.id:
            raise Damaged(f"{image} is not the image its name says; fetch it again from the store")
    return ledger, images
