"""Looks: every model that was judged on a split of labelled images, counted in the store before its verdict is known.

    looks/<split>/images.txt                       the pixel digests of the split's images, sorted, a line each
    looks/<split>/judged/<number>-<model>.json     {"format", "split", "number", "model", "by", "at", "run"}

`split` is the SHA-256 of the split's file, `model` that of the model's. Records are written once and never removed, so
a crash hides no look, and a lost workspace forgets none. The same model on the same split is one look. What was looked
at on another split that shares images with this one counts here too: other sizes or another seed in params.yaml give
no fresh images. Only images that no such split ever held start anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as record

from errata.data import layout
from errata.data.records import STRICT, Sha256, canonical_json
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, NotStored

_KEY = re.compile(rf"{layout.LOOKS}([0-9a-f]{{64}})/(?:images\.txt|judged/([0-9]{{8}})-([0-9a-f]{{64}})\.json)")


@record(frozen=True, config=STRICT)
class LookRecord:
    """That `model` was judged on `split`, as look `number`; who, when and in which run is for people."""

    split: Sha256
    number: int
    model: Sha256
    by: str
    at: str
    run: str
    format: Literal["errata-look/1"] = "errata-look/1"


RECORD = TypeAdapter(LookRecord)


@dataclass(frozen=True)
class Look:
    """A look as its key tells it."""

    split: str
    number: int
    model: str


@dataclass(frozen=True)
class Looks:
    """The looks of a store; those that are counted are `by` somebody, in a `run`."""

    storage: Storage
    by: str = ""
    run: str = ""

    def count(self, split: str, images: Collection[str], model: str) -> int:
        """Count that `model` is about to be judged on `split`, which holds `images` (pixel digests); the look's number.

        The first look is number 1; again with the same model is the same look. Of two that are counted at the same
        moment each may get the later number, never both the earlier one. Raises Damaged on a record that is none.
        """
        looks, known = self._related(split, images)
        if not known:
            lines = "".join(f"{each}\n" for each in sorted(images))
            self.storage.put_once(layout.judging_images(split), lines.encode())
        number = next((each.number for each in looks if (each.split, each.model) == (split, model)), None)
        if number is None:
            number = max([len(looks), *(each.number for each in looks)]) + 1
            now = datetime.now(UTC).isoformat(timespec="seconds")
            content = canonical_json(LookRecord(split, number, model, self.by, now, self.run))
            with suppress(AlreadyStored):  # another run judges the same model at this moment: it is the same look
                self.storage.put_once(layout.look(split, number, model), content)
            looks, _ = self._related(split, images)
        return max(number, sum(each.number <= number for each in looks))

    def so_far(self, split: str, images: Collection[str]) -> int:
        """How many looks there were at `split`, with those at splits that share some of its `images`."""
        looks, _ = self._related(split, images)
        return max([len(looks), *(each.number for each in looks)])

    def judged_images(self) -> set[str]:
        """The pixel digests of all images on which a model was ever judged."""
        _, splits = self._listed()
        return {each for split in splits for each in self._images(split)}

    def number_of(self, split: str, model: str) -> int | None:
        """At which look at `split` a model was judged; None if it never was."""
        return next((each.number for each in self._listed()[0] if (each.split, each.model) == (split, model)), None)

    def _related(self, split: str, images: Collection[str]) -> tuple[list[Look], bool]:
        """The looks at `split` and at those that share images with it; and whether its own images are recorded."""
        looks, splits = self._listed()
        others = {*splits, *(each.split for each in looks)} - {split}
        related = {split, *(other for other in others if self._shares(other, images))}
        return [each for each in looks if each.split in related], split in splits

    def _listed(self) -> tuple[list[Look], set[str]]:
        """Every look, and the splits whose images are recorded."""
        looks, splits = [], set()
        for key in self.storage.keys(layout.LOOKS):
            match = _KEY.fullmatch(key)
            if match is None:
                raise Damaged(f"{self.storage.url}/{key} is no record of a look at a split; move it elsewhere")
            split, number, model = match.groups()
            if model is None:
                splits.add(split)
            else:
                looks.append(Look(split, int(number), model))
        return looks, splits

    def _shares(self, other: str, images: Collection[str]) -> bool:
        return not set(images).isdisjoint(self._images(other))

    def _images(self, split: str) -> list[str]:
        try:
            return self.storage.get(layout.judging_images(split)).decode("ascii").split()
        except (NotStored, UnicodeDecodeError) as fault:
            raise Damaged(f"{self.storage.url}/{layout.judging_images(split)}: {fault}; restore it") from fault
