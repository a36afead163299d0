"""How the root was trained, as a record: artifacts/root/training.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Real, canonical_json, parse_record
from errata.editing.rules import RuleRecord


@dataclass(frozen=True, config=STRICT)
class TrainingEffect:
    """Shares of `images`: right before and after, and predicted otherwise than before."""

    images: int
    before: Real
    after: Real
    changed: Real

    def __str__(self) -> str:
        return (
            f"Editable Training of the given weights: accuracy {self.before:.2%} before, {self.after:.2%} after, "
            f"{self.changed:.2%} predicted otherwise, on {self.images} images that it did not see"
        )


@dataclass(frozen=True, config=STRICT)
class RootTraining:
    """The mean loss of each epoch, the settings, and the rule that Editable Training learned: `{}` in the file if none.

    `effect`: what Editable Training of given weights did, on images of the train split that it did not see; absent in
    the file where no weights were trained further.

    `RootTraining.from_json(t.to_json()) == t`.
    """

    losses: tuple[Real, ...]
    settings: dict[str, int | float | str | bool]
    rule: Annotated[RuleRecord | None, BeforeValidator(lambda value: None if value == {} else value)] = None
    effect: TrainingEffect | None = None

    def to_json(self) -> bytes:
        """Canonical bytes."""
        found = {"losses": self.losses, "settings": self.settings, "rule": self.rule or {}}
        return canonical_json(found | ({"effect": self.effect} if self.effect else {}))

    @staticmethod
    def from_json(content: bytes) -> RootTraining:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_TRAINING, content, "training.json", "train the root again")


_TRAINING = TypeAdapter(RootTraining)
