"""`python -m benchmarks.regression`: edits of a network with real outputs, on scikit-learn's embedded diabetes data.

A perceptron predicts how far a patient's disease goes on (442 patients, ten features). An edit demands that one test
patient's prediction is within a tolerance of a value: the true one, of patients whom the network gets wrong by more, or
one drawn from the training patients' values, the counterpart of the paper's random labels. Rates are chosen on edits of
validation patients: the least drawdown among those with at least 95% success. Each seed draws the split, the first
weights and the edits anew.
"""

from __future__ import annotations

import argparse
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from benchmarks.report import environment, markdown
from errata.editing.constraints.regression import RegressionConstraint
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.metrics import bootstrap_mean
from errata.editing.network import EditableNetwork
from errata.editing.rules import RULES, RMSProp
from errata.editing.scopes import Scope

TRAIN, VALIDATION = 222, 60  # patients; the other 160 are the test split
TOLERANCE = 0.25  # in standard deviations of the training values
NOISE, VIEWS = 0.1, 16  # standard deviations of the features; views of an edited patient that no editor sees
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
STEPS = 50
Group = list[tuple[int, float]]  # rows to be edited together, each with the value that is demanded


@dataclass(frozen=True)
class Data:
    """Features `[n, 10]` and values `[n, 1]`, standardised by the training split, and what a value's unit is."""

    features: Tensor
    values: Tensor
    unit: float


@dataclass(frozen=True)
class Outcome:
    """What one edit did. Errors are in the data's units; shares are of the test patients who were not edited."""

    success: float
    steps: float
    drawdown: float  # |change of the mean absolute error|
    rmse: float  # change of the root of the mean squared error, signed
    moved: float  # share of predictions that moved by more than the tolerance
    generalization: float  # share of noisy views of the edited patients within the tolerance
    seconds: float


def standardised(seed: int) -> Data:
    """The data in an order drawn by `seed`."""
    table = load_diabetes()
    order = np.random.default_rng(seed).permutation(len(table.target))
    features = torch.tensor(table.data[order], dtype=torch.float32)
    values = torch.tensor(table.target[order], dtype=torch.float32)[:, None]
    unit = float(values[:TRAIN].std())
    centred = (features - features[:TRAIN].mean(0)) / features[:TRAIN].std(0)
    return Data(centred, (values - values[:TRAIN].mean()) / unit, unit)


def trained(data: Data, seed: int) -> EditableNetwork:
    """A perceptron of two hidden layers, trained by Adam on the training split."""
    torch.manual_seed(seed)
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        first=nn.Sequential(nn.Linear(10, 64), nn.Tanh()), second=nn.Sequential(nn.Linear(64, 64), nn.Tanh())
    )
    network = EditableNetwork(nn.Sequential(stages), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
    for _ in range(60):  # longer fits the training patients alone
        loss = (network(data.features[:TRAIN]) - data.values[:TRAIN]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def groups_of(
    network: EditableNetwork, data: Data, rows: range, count: int, size: int, kind: str, seed: int
) -> list[Group]:
    """`count` groups of `size` rows of `rows`, none of which the network meets already."""
    generator = torch.Generator().manual_seed(seed)
    predicted = network(data.features)[:, 0]
    found: list[Group] = []
    while len(found) < count:
        group: Group = []
        for row in (rows.start + torch.randperm(len(rows), generator=generator)).tolist():
            donor = int(torch.randint(TRAIN, (), generator=generator))
            wanted = float(data.values[donor if kind == "random" else row])
            if abs(float(predicted[row]) - wanted) > TOLERANCE and len(group) < size:
                group.append((row, wanted))
        found.append(group)
    return found


def outcome(editor: Any, state: Any, network: EditableNetwork, data: Data, rows: range, group: Group) -> Outcome:
    """One edit, measured on the other `rows`."""
    constraints = [
        RegressionConstraint(data.features[row], torch.tensor([wanted]), TOLERANCE, str(row)) for row, wanted in group
    ]
    started = time.process_time()
    result = editor.edit(network, constraints, state)
    seconds = time.process_time() - started
    others = [row for row in rows if row not in {row for row, _ in group}]
    chosen, generator = [row for row, _ in group], torch.Generator().manual_seed(group[0][0])
    noise = NOISE * torch.randn(VIEWS, len(group), data.features.shape[1], generator=generator)
    with torch.no_grad():
        old, new = (one(data.features[others]) for one in (network, result.model))
        views = result.model(data.features[chosen] + noise)[..., 0]
    before, after = ((one - data.values[others]) * data.unit for one in (old, new))
    wanted = torch.tensor([wanted for _, wanted in group])
    return Outcome(
        float(result.success),
        float(result.steps),
        abs(float(after.abs().mean() - before.abs().mean())),
        float(after.square().mean().sqrt() - before.square().mean().sqrt()),
        float(((new - old).abs() > TOLERANCE).float().mean()),
        float(((views - wanted).abs() <= TOLERANCE).float().mean()),
        seconds,
    )


EDITORS: dict[str, Callable[[str, float], Any]] = {
    **{
        name: lambda scope, rate, rule=rule: GradientEditor(rule(rate), Scope(scope), STEPS)  # type: ignore[misc]
        for name, rule in RULES.items()
    },
    "rmsprop + ewc": lambda scope, rate: GradientEditor(
        RMSProp(rate), Scope(scope), STEPS, penalty=ElasticPenalty(10.0)
    ),
}


@dataclass(frozen=True)
class Subject:
    """One seed's network with its edits: single ones to choose rates by, and those that are reported, by table."""

    network: EditableNetwork
    data: Data
    validation: list[Group]
    reported: dict[str, list[Group]]

    @staticmethod
    def of(seed: int, edits: int) -> Subject:
        data = standardised(seed)
        network = trained(data, seed)
        test = range(TRAIN + VALIDATION, len(data.values))
        return Subject(
            network,
            data,
            groups_of(network, data, range(TRAIN, test.start), 15, 1, "random", seed),
            {
                "random values, one at a time": groups_of(network, data, test, edits, 1, "random", seed + 100),
                "true values, one at a time": groups_of(network, data, test, edits, 1, "true", seed + 200),
                "true values, ten at once": groups_of(network, data, test, edits // 5, 10, "true", seed + 300),
            },
        )

    def outcomes(self, editor: Any, groups: Sequence[Group], rows: range) -> list[Outcome]:
        state = editor.prepare(self.network, self.data.features[:TRAIN], self.data.features[TRAIN : rows.start])
        return [outcome(editor, state, self.network, self.data, rows, group) for group in groups]


def best_rate(make: Callable[[str, float], Any], scope: str, subjects: Sequence[Subject]) -> float:
    """The rate of the least drawdown on validation edits among those with 95% success, else of the most success."""
    scores = {}
    for rate in RATES:
        found = [
            one
            for subject in subjects
            for one in subject.outcomes(make(scope, rate), subject.validation, range(TRAIN, TRAIN + VALIDATION))
        ]
        success = float(np.mean([one.success for one in found]))
        scores[rate] = (min(success, 0.95), -float(np.mean([one.drawdown for one in found])))
    return max(scores, key=scores.__getitem__)


def cells(name: str, setting: str, found: Sequence[Outcome]) -> list[str]:
    """A row of a table."""
    means = {
        field.name: bootstrap_mean(np.array([getattr(one, field.name) for one in found])) for field in fields(Outcome)
    }

    def written(what: str, scale: float = 1.0, digits: int = 1) -> str:
        one = means[what]
        return f"{scale * one.mean:.{digits}f} [{scale * one.low:.{digits}f}, {scale * one.high:.{digits}f}]"

    return [
        name, setting, str(len(found)), written("success", 100), written("steps"), written("drawdown", 1, 2),
        written("rmse", 1, 2), written("moved", 100), written("generalization", 100), f"{means['seconds'].mean:.3f}",
    ]  # fmt: skip


HEADINGS = (
    "editor", "settings", "edits", "success, %", "steps", "drawdown (MAE)", "change of RMSE", "others moved, %",
    "noisy views, %", "CPU seconds",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--edits", type=int, default=50, help="edits a seed and table")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    subjects = [Subject.of(seed, options.edits) for seed in range(1, options.seeds + 1)]
    editors: list[tuple[str, str, Any]] = []
    for scope in ("second", "whole"):
        for name, make in EDITORS.items():
            rate = best_rate(make, scope, subjects)
            editors.append((name, f"{scope}, rate {rate:g}", make(scope, rate)))
        editors.append(("natural gradient", scope, NaturalGradient(Scope(scope), margin=0.01)))
    test = range(TRAIN + VALIDATION, len(subjects[0].data.values))
    tables = {}
    for table in subjects[0].reported:
        tables[table] = [
            cells(name, setting, [one for s in subjects for one in s.outcomes(editor, s.reported[table], test)])
            for name, setting, editor in editors
        ]
        print(table, markdown(HEADINGS, tables[table]), sep="\n\n", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "regression.md").write_text(page(subjects, tables, test))


@torch.no_grad()
def page(subjects: Sequence[Subject], tables: dict[str, list[list[str]]], test: range) -> str:
    """The page of results."""
    errors = [
        float((s.network(s.data.features[test.start :]) - s.data.values[test.start :]).abs().mean() * s.data.unit)
        for s in subjects
    ]
    units = float(np.mean([s.data.unit for s in subjects]))
    head = f"""# Edits of a network with real outputs

scikit-learn's diabetes data: {TRAIN} patients to train on, {VALIDATION} to choose rates on, {len(test)} to test on. A
perceptron (10, 64, 64, 1; tanh) of {len(subjects)} seeds; its mean absolute test error is
{", ".join(f"{one:.1f}" for one in errors)} (values have a standard deviation of {units:.0f}). A constraint
`|f(x) - y| <= e` holds a test patient's prediction within e = {TOLERANCE} standard deviations ({TOLERANCE * units:.0f})
of a value; only constraints that do not hold yet are edited. *Drawdown*: absolute change of the mean absolute error of
all other test patients, in the data's units; *others moved*: the share of them whose prediction moved by more than e;
*noisy views*: the share of {VIEWS} unseen views of the edited patient (features with noise of {NOISE} standard
deviations) within e. At most {STEPS} steps, natural gradient {NaturalGradient(Scope()).steps}; EWC's weight is 10. In
brackets bootstrap 95% intervals over edits. Of the rates {", ".join(f"{rate:g}" for rate in RATES)} each rule has
that of the least drawdown at 95% success on edits of validation patients.

"""
    body = "".join(
        f"## {table[0].upper()}{table[1:]}\n\n{markdown(HEADINGS, rows)}\n" for table, rows in tables.items()
    )
    return f"{head}{body}{environment('cpu')} Made by `python -m benchmarks.regression`.\n"


if __name__ == "__main__":
    main()
