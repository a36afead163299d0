"""What was observed of a table, expectation by expectation; and the record that each night leaves in the store of it.

The shares of classes in the last nights are what the next night's are held against.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, JsonValue, ValidationError

from errata.data import layout
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored, Unreadable

Severity = Literal["critical", "warning", "info"]  # Great Expectations' own words
NIGHTS = 14  # how many nights before are looked at


class Outcome(BaseModel):
    """How one expectation came out: what was `observed`, and how many rows break it (a table as a whole breaks none).

    `limits`: what the expectation was given besides the column. `notes`: the rule in words, where its file has them.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    expectation: str
    column: str
    limits: dict[str, JsonValue]
    severity: Severity
    holds: bool
    observed: JsonValue
    broken: int = 0
    notes: str = ""

    @property
    def sentence(self) -> str:
        """One line for a person: the rule in its notes' words, or by its name with its limits; what was observed."""
        observed = f"{self.observed:.4g}" if isinstance(self.observed, float) else self.observed
        if self.notes:
            return f'"{self.notes.rstrip(".")}" ({self.column or "the table"}: observed {observed})'
        rule = f"{self.column} {self.expectation.removeprefix('expect_').replace('_', ' ')}".strip()
        limits = ", ".join(f"{name} {value}" for name, value in self.limits.items() if isinstance(value, (int, float)))
        return f"{rule}{f' ({limits})' if limits else ''}: observed {observed}"


class Observations(BaseModel):
    """What one night observed of its reports: `errata-observations/1`.

    `expected`: how many of the `reports` claim each class; `doubts`: of each correction that the night accepted.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["errata-observations/1"] = "errata-observations/1"
    at: AwareDatetime
    run: str
    reports: int
    expected: dict[str, int]
    outcomes: tuple[Outcome, ...]
    doubts: dict[str, float] = {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each expectation of severity `warning` that does not hold."""
        broken = (each for each in self.outcomes if each.severity == "warning" and not each.holds)
        return tuple(f"the night's reports break the rule {each.sentence}" for each in broken)


def keep_observations(storage: Storage, observed: Observations) -> None:
    """Leave a night's record; the same record again is a success."""
    content = (observed.model_dump_json(indent=1) + "\n").encode()
    storage.put_once(layout.observations(observed.at, observed.run), content)


def claimed_before(storage: Storage) -> Counter[str]:
    """How many reports of the last `NIGHTS` nights claimed each class; raises Damaged on one that cannot be parsed."""
    claimed: Counter[str] = Counter()
    for observed in _kept(storage, sorted(storage.keys(layout.OBSERVATIONS))[-NIGHTS:]):
        claimed.update(observed.expected)
    return claimed


def doubts_of(storage: Storage, corrections: Collection[str]) -> dict[str, float]:
    """The doubt of each of `corrections` when a night last accepted it, where one recorded it; raises Damaged."""
    found: dict[str, float] = {}
    for observed in _kept(storage, sorted(storage.keys(layout.OBSERVATIONS))):
        found |= {name: doubt for name, doubt in observed.doubts.items() if name in corrections}
    return found


def _kept(storage: Storage, keys: Iterable[str]) -> Iterator[Observations]:
    for key in keys:
        try:
            yield Observations.model_validate_json(storage.get(key))
        except (NotStored, Unreadable):
            continue
        except ValidationError as error:
            raise Damaged(f"{key} is no record of a night ({error.error_count()} faults); remove it") from error


def partition(claimed: Counter[str], classes: Sequence[str]) -> dict[str, JsonValue]:
    """Shares of classes as Great Expectations takes them. One is added to each count: no class has a share of zero."""
    total = sum(claimed[name] for name in classes) + len(classes)
    return {"values": list(classes), "weights": [(claimed[name] + 1) / total for name in classes]}
