"""The editor that params.yaml names, with the coefficients that the root was trained to be edited with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from errata.data.images import Pixels, pixel_digest
from errata.data.splits import load_split
from errata.data.spool import spooled
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.patch import ON_THE_HEAD, CalibratedPatch
from errata.editing.errors import DataError
from errata.editing.features import Features
from errata.editing.rules import RULES, Rule
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.tensors import tensor_of
from errata.editing.types import Editor
from errata.flows.params import EditParams
from errata.flows.stages.root_training import RootTraining

KNOWN: dict[str, type[Rule]] = {**RULES, "natural_rule": NaturalRule}


def build_editor(
    params: EditParams,
    views: ViewSettings,
    seed: int,
    learned: Rule | None = None,
    features: Features | None = None,
    traffic: Tensor | None = None,
) -> Editor[Any]:
    """An editor ready to use; `learned` is `learned_rule`'s answer, `traffic` is `calibrating_traffic`'s, and what was
    computed before is kept in `features`.

    Raises DataError if no editor has that name.
    """
    features = features or Features()
    if params.editor == "patch":
        return CalibratedPatch(
            alpha=params.alpha,
            gamma=params.gamma,
            views=views,
            eps=params.eps,
            margin=params.margin,
            faintest=params.faintest,
            weakest=params.weakest,
            tau=params.tau,
            tau_quantile=params.tau_quantile,
            seed=seed,
            fallback=ON_THE_HEAD if params.fallback == "head" else None,
            features=features,
            traffic=traffic,
        )
    scope = Scope(params.scope)
    if params.editor == "natural":
        return NaturalGradient(
            scope, steps=params.steps, margin=params.rule_margin, views=views, seed=seed, features=features
        )
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
    rule = learned if learned and type(learned) is kind and not coefficients else kind(**coefficients)
    penalty = ElasticPenalty(params.penalty, seed=seed) if params.penalty else None
    return GradientEditor(rule, scope, params.steps, params.rule_margin, penalty)


def calibrating_traffic(splits: Path) -> Tensor | None:
    """The half of the traffic split that calibrates thresholds, uint8 `[m, h, w, c]`; None where there is none.

    On the other half reach is measured.
    """
    if not (splits / "traffic.npz").is_file():
        return None
    images = load_split(splits, "traffic").images
    return tensor_of(spooled((image for image in images if calibrates(image)), images.shape[1:], splits.parent))


def calibrates(image: Pixels) -> bool:
    """Whether an image of the traffic split calibrates thresholds: its digest alone decides."""
    return int(pixel_digest(image)[:2], 16) % 2 == 0


def learned_rule(root: Path) -> Rule | None:
    """The rule that training.json beside the root records; None if there is none: the root was trained plainly.

    Raises Damaged if the file cannot be parsed.
    """
    try:
        content = (root / "training.json").read_bytes()
    except FileNotFoundError:
        return None
    record = RootTraining.from_json(content).rule
    return record.rule() if record else None
