"""Looks: every model that was judged on a split of labelled images, counted in the store before its verdict is known.

    looks/<split>/images.txt                       the pixel digests of the split's images, sorted, a line each
    looks/<split>/judged/<number>-<model>.json     {"format", "split", "number", "model", "by", "at", "run"}

`split` is the SHA-256 of the split's file, `model` that of the model's. Records are written once and never removed, so
a crash hides no look, and a lost workspace forgets none. The same model on the same split is one look. What was looked
at on another split that shares images with this one counts here too: other sizes or another seed in params.yaml give
no fresh images. Only images that no such split ever held start anew.

Where keys are set (`data.releases.signing`), a record is signed, and live.json vouches for how many looks there were at
the end of the last night, and at which images. So whoever can write to the store takes no look back: neither what is
deleted or rewritten counts less, nor is a look that nobody had taken for one that was.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass as record

from errata.data import layout
from errata.data.records import STRICT, Sha256, canonical_json, parse_record
from errata.data.releases.manifest import JudgedSplit, read_live, sha256
from errata.data.releases.signing import check_signature, signature_of, signatures_wanted
from errata.data.storage.base import Storage
from errata.editing.errors import AlreadyStored, Damaged, NotStored, TooLarge

_KEY = re.compile(rf"{layout.LOOKS}([0-9a-f]{{64}})/(?:images\.txt|judged/([0-9]{{8}})-([0-9a-f]{{64}})\.json)")

_MOST = 10**8 - 1  # the last number that a record's name has room for
_LIST_BYTES = 2**30  # at most: 16 million images
_SIGNED_AS = b"errata look\n"  # so that no signature of a look is one of anything else


@record(frozen=True, config=STRICT)
class LookRecord:
    """That `model` was judged on `split`, as look `number`; who, when and in which run is for people."""

    split: Sha256
    number: int
    model: Sha256
    by: str
    at: str
    run: str
    signature: str = ""
    format: Literal["errata-look/1"] = "errata-look/1"

    @property
    def unsigned(self) -> bytes:
        """What the signature is of."""
        return _SIGNED_AS + canonical_json(replace(self, signature=""))

    def signed(self) -> LookRecord:
        """The same with its signature, if a signing key is set."""
        signature = signature_of(self.unsigned)
        return self if signature is None else replace(self, signature=signature.decode().strip())


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
        moment each may get the later number, never both the earlier one. Raises Damaged on a record that is none, and
        where images that live.json vouches for are not those that are recorded.
        """
        looks, least, known = self._related(split, images)
        if not known:
            self.storage.put_once(layout.judging_images(split), _lines(images))
        same = (each for each in looks if (each.split, each.model) == (split, model))
        number = next((each.number for each in same if self._is_ours(each)), None)
        if number is None:
            number = least + 1
            if number > _MOST:
                raise Damaged(f"{self.storage.url}/{layout.LOOKS} has a look {least:,}, which nobody took; move it")
            now = datetime.now(UTC).isoformat(timespec="seconds")
            look = LookRecord(split, number, model, self.by, now, self.run).signed()
            with suppress(AlreadyStored):  # another run judges the same model at this moment: it is the same look
                self.storage.put_once(layout.look(split, number, model), canonical_json(look))
            looks, _, _ = self._related(split, images)
        return max(number, sum(each.number <= number for each in looks))

    def so_far(self, split: str, images: Collection[str]) -> int:
        """How many looks there were at `split`, with those at splits that share some of its `images`."""
        _, least, _ = self._related(split, images)
        return least

    def standing(self) -> dict[str, JudgedSplit]:
        """What live.json shall vouch for: how many looks there were at each split; nothing where no keys are set."""
        if not signatures_wanted():
            return {}
        looks, splits = self._listed()
        standing = dict(self._vouched())
        for split in splits:
            numbers = [each.number for each in looks if each.split == split]
            known = standing.get(split)
            digest = known.images if known else _digest(self._images(split))
            standing[split] = JudgedSplit(max([len(numbers), *numbers, known.looks if known else 0]), digest)
        return standing

    def judged_images(self) -> set[str]:
        """The pixel digests of all images on which a model was ever judged."""
        _, splits = self._listed()
        return {each for split in splits for each in self._images(split)}

    def number_of(self, split: str, model: str) -> int | None:
        """At which look at `split` a model was judged; None if it never was."""
        return next((each.number for each in self._listed()[0] if (each.split, each.model) == (split, model)), None)

    def _related(self, split: str, images: Collection[str]) -> tuple[list[Look], int, bool]:
        """The looks at `split` and at those that share images with it; how many there were at least, of which some may
        have been removed; and whether its own images are recorded."""
        looks, splits = self._listed()
        vouched = self._vouched()
        others = {*splits, *(each.split for each in looks), *vouched} - {split}
        related = {split, *(other for other in others if self._shares(other, images, vouched))}
        found = [each for each in looks if each.split in related]
        before = [each.looks for other, each in vouched.items() if other in related]
        return found, max([len(found), *(each.number for each in found), *before]), split in splits

    def _vouched(self) -> Mapping[str, JudgedSplit]:
        found = read_live(self.storage)
        return found[0].judged if found else {}

    def _is_ours(self, look: Look) -> bool:
        """Whether the record of a look is signed, where that is wanted."""
        if not signatures_wanted():
            return True
        key = layout.look(look.split, look.number, look.model)
        try:
            record = parse_record(RECORD, self.storage.get(key), f"{self.storage.url}/{key}", "it counts as no look")
            check_signature(record.unsigned, record.signature.encode(), f"{self.storage.url}/{key}")
        except (NotStored, Damaged):
            return False
        return (record.split, record.number, record.model) == (look.split, look.number, look.model)

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

    def _shares(self, other: str, images: Collection[str], vouched: Mapping[str, JudgedSplit]) -> bool:
        listed = self._images(other)
        if other in vouched and _digest(listed) != vouched[other].images:
            raise Damaged(f"{self.storage.url}/{layout.judging_images(other)} was changed; restore it from a copy")
        return not set(images).isdisjoint(listed)

    def _images(self, split: str) -> list[str]:
        try:
            return self.storage.get(layout.judging_images(split), at_most=_LIST_BYTES).decode("ascii").split()
        except (NotStored, TooLarge, UnicodeDecodeError) as fault:
            raise Damaged(f"{self.storage.url}/{layout.judging_images(split)}: {fault}; restore it") from fault


def _lines(images: Collection[str]) -> bytes:
    """The content of images.txt."""
    return "".join(f"{each}\n" for each in sorted(images)).encode()


def _digest(images: Collection[str]) -> str:
    return sha256(_lines(images))
