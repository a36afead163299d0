"""The editor that params.yaml names, with the coefficients that the root was trained to be edited with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from editing.editors.ewc import ElasticPenalty
from editing.editors.gradient import GradientEditor
from editing.editors.natural import NaturalGradient
from editing.editors.natural_rule import NaturalRule
from editing.editors.patch import CalibratedPatch
from editing.errors import DataError
from editing.rules import RULES, Rule
from editing.scopes import Scope
from editing.types import Editor
from editing.views import ViewSettings
from flows.params import EditParams, Params

KNOWN: dict[str, type[Rule]] = {**RULES, "natural_rule": NaturalRule}
MARGIN = 0.05  # what survives rounding in the exported file


def build_editor(
    params: EditParams, views: ViewSettings, seed: int, learned: dict[str, Any] | None = None
) -> Editor[Any]:
    """An editor ready to use; `learned` is `learned_rule`'s answer. Raises DataError if no editor has that name."""
    if params.editor == "patch":
        return CalibratedPatch(alpha=params.alpha, gamma=params.gamma, views=views, seed=seed)
    scope = Scope(params.scope)
    if params.editor == "natural":
        return NaturalGradient(scope, steps=params.steps, views=views, seed=seed)
    if params.editor not in KNOWN:
        known = ", ".join(["patch", "natural", *KNOWN])
        raise DataError(f"params.yaml: edit.editor: no editor is called {params.editor!r}; known: {known}")
    kind = KNOWN[params.editor]
    if unknown := set(params.rule) - set(kind.coefficients):
        raise DataError(
            f"params.yaml: edit.rule: {params.editor} has no coefficient {sorted(unknown)[0]!r}; "
            f"it has {', '.join(kind.coefficients)}"
        )
    coefficients: dict[str, Any] = dict(params.rule)
    if not coefficients and learned and learned["name"] == params.editor:
        coefficients = {name: value for name, value in learned.items() if name != "name"}
    penalty = ElasticPenalty(params.penalty, seed=seed) if params.penalty else None
    return GradientEditor(kind(**coefficients), scope, params.steps, MARGIN, penalty)


def view_settings(params: Params) -> ViewSettings:
    """The views of params.yaml, as the method takes them."""
    return ViewSettings(**params.views.model_dump())


def describe_rule(rule: Rule) -> dict[str, Any]:
    """A rule's name and coefficients, as plain data."""
    name = next(name for name, kind in RULES.items() if type(rule) is kind)
    return {"name": name, **asdict(rule)}


def learned_rule(root: Path) -> dict[str, Any] | None:
    """What `describe_rule` wrote beside the root; None if it was trained plainly."""
    try:
        return json.loads((root / "training.json").read_text())["rule"] or None
    except (OSError, ValueError, KeyError):
        return None
