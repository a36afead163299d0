"""The search for a rule's coefficients and layers, on validation edits, never on test.

Goal (section 4.1): the lowest drawdown among those that succeed in at least 95% of edits within the editor's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.engine import Engine
from errata.editing.errors import MeasurementError
from errata.editing.rules import UNBOUNDED, Rule
from errata.editing.scopes import Scope
from errata.editing.studies.protocol import Control, Demand, Trial, run_protocol
from errata.editing.studies.replay import RehearsalPenalty
from errata.editing.studies.requirements import require

if TYPE_CHECKING:
    import optuna

SUCCESS = 0.95


@dataclass(frozen=True)
class TuningSettings:
    """`trials` settings are tried on all `demands`; rates are searched over `rates`, on a logarithmic scale.

    Decays are searched over [0.1, 1], the paper's interval for Adam, what is added under a root over `epsilons`.
    `penalties`: also search the weight of a `penalty` over this interval, on a logarithmic scale.
    """

    trials: int = 20
    rates: tuple[float, float] = (1e-5, 1.0)
    penalties: tuple[float, float] | None = None
    epsilons: tuple[float, float] = (1e-9, 1e-2)
    penalty: Callable[[float], ElasticPenalty | RehearsalPenalty] = ElasticPenalty
    seed: int = 0


@dataclass(frozen=True)
class Tuned:
    """The best setting found and its validation drawdown and success; `tried` settings in all."""

    editor: GradientEditor
    scope: str
    drawdown: float
    success: float
    tried: int


def tune(
    rule: Rule,
    scopes: Sequence[str],
    control: Control,
    demands: Sequence[Demand],
    settings: TuningSettings,
    steps: int = 10,
    report: Callable[[str], None] | None = None,
    engine: Engine | None = None,
) -> Tuned:
    """Search `rule`'s coefficients and one of `scopes`, starting at `rule` itself.

    `control` and `demands` must come from a validation split. Edits whose class is predicted already say nothing and
    are left out; raises MeasurementError if that leaves none, and NotInstalled without optuna.
    """
    require("optuna")
    import optuna  # noqa: PLC0415 - only who tunes needs it

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    open_ones = [one for one in demands if control.root_classes[one.image] != one.expected]
    if not open_ones:
        raise MeasurementError("every validation edit asks for what is predicted already; draw more")
    found: list[Tuned] = []

    def objective(trial: optuna.Trial) -> float:
        scope = trial.suggest_categorical("scope", list(scopes)) if len(scopes) > 1 else scopes[0]
        penalty = None
        if settings.penalties is not None:
            penalty = settings.penalty(trial.suggest_float("penalty", *settings.penalties, log=True))
        editor = GradientEditor(_suggest(trial, rule, settings), Scope(scope), steps, penalty=penalty)
        trials: list[Trial] = []
        failures = 0
        state = editor.prepare(control.root, control.images, control.images)
        for one in run_protocol(editor, state, control, open_ones, engine=engine):
            trials.append(one)
            failures += not one.success
            if failures > (1 - SUCCESS) * len(open_ones):
                break  # it cannot reach 95% any more
        success = 1 - failures / len(trials)
        drawdown = float(np.mean([one.drawdown for one in trials]))
        reached = len(trials) / len(open_ones)
        if len(trials) == len(open_ones):
            found.append(Tuned(editor, scope, drawdown, success, 0))
        if report is not None:
            held = "" if penalty is None else f", penalty {penalty.weight:.3g}"
            report(f"{editor.rule} {scope}{held}: drawdown {drawdown:.4f}, success {success:.3f} of {len(trials)}")
        # whatever does not succeed is worse than everything that does, and the worse the sooner it failed
        return drawdown if failures <= (1 - SUCCESS) * len(open_ones) else 2.0 - reached

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=6))
    study.enqueue_trial({**_coefficients(rule), **({"scope": scopes[0]} if len(scopes) > 1 else {})})
    study.optimize(objective, n_trials=settings.trials)
    good = [one for one in found if one.success >= SUCCESS]
    if good:
        best = min(good, key=lambda one: one.drawdown)
        return replace(best, tried=len(study.trials))
    chosen = study.best_params
    values = {name: value for name, value in chosen.items() if name in rule.coefficients}
    scope = cast(str, chosen.get("scope", scopes[0]))
    penalty = settings.penalty(chosen["penalty"]) if "penalty" in chosen else None
    editor = GradientEditor(replace(rule, **values), Scope(scope), steps, penalty=penalty)
    return Tuned(editor, scope, float("nan"), 0.0, len(study.trials))


def _coefficients(rule: Rule) -> dict[str, Any]:
    return {name: float(getattr(rule, name)) for name in rule.coefficients}


def _suggest(trial: optuna.Trial, rule: Rule, settings: TuningSettings) -> Rule:
    spans = {"learning_rate": settings.rates, "epsilon": settings.epsilons}
    chosen = {
        name: trial.suggest_float(name, *spans.get(name, (0.1, 1.0)), log=name in UNBOUNDED)
        for name in _coefficients(rule)
    }
    changed: Rule = replace(rule, **chosen)
    return changed
