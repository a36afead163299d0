"""How the root was trained, as a record: artifacts/root/training.json."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data.records import STRICT, Real, canonical_json, parse_record
from errata.editing.rules import RuleRecord


@dataclass(frozen=True, config=STRICT)
class RootTraining:
    """The mean loss of each epoch, the settings, and the rule that Editable Training learned: `{}` in the file if none.

    `RootTraining.from_json(t.to_json()) == t`.
    """

    losses: tuple[Real, ...]
    settings: dict[str, int | float | str | bool]
    rule: Annotated[RuleRecord | None, BeforeValidator(lambda value: None if value == {} else value)] = None

    def to_json(self) -> bytes:
        """Canonical bytes."""
        return canonical_json({"losses": self.losses, "settings": self.settings, "rule": self.rule or {}})

    @staticmethod
    def from_json(content: bytes) -> RootTraining:
        """Parse `to_json`'s output; raises Damaged, naming each field that is wrong, on any other document."""
        return parse_record(_TRAINING, content, "training.json", "train the root again")


_TRAINING = TypeAdapter(RootTraining)
