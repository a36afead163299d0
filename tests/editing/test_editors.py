"""The contract of every editor, run over all of them and every type of constraint that they know: what a caller may
rely on without knowing which one it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from errata.editing.constraints.demands import gather
from errata.editing.constraints.regression import RegressionConstraint
from errata.editing.constraints.sequences import SequenceConstraint
from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.editors.sentences import CalibratedSentences
from errata.editing.errors import ConstraintError, ErrataError, ScopeError
from errata.editing.model import EditableModel
from errata.editing.network import EditableNetwork
from errata.editing.rules import RULES, RMSProp
from errata.editing.scopes import Scope, before
from errata.editing.settings import ViewSettings
from errata.editing.studies.cnp import ConditionalEditor, ConditionNetwork, conditioned
from errata.editing.studies.dknn import DeepNeighbours, NeighbourModel
from errata.editing.studies.grace import CodebookModel, Grace
from errata.editing.studies.replay import RehearsalPenalty
from errata.editing.studies.sequential import Sequential
from errata.editing.types import Constraint, Editor, EditorOf
from tests.editing.models import (
    SEARCH,
    small_features,
    small_images,
    small_model,
    small_network,
    small_sentences,
    small_translations,
    small_writer,
)

RATES = {"gd": 0.3, "scaled_gd": 0.5, "polyak": 1.2, "rprop": 0.02, "rmsprop": 0.02, "momentum": 0.1, "adam": 0.02}
VIEWS = ViewSettings(fitting=5, max_shift=0.13)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
DEVICES = ["cpu", pytest.param("cuda", marks=NO_GPU)]


@dataclass(frozen=True)
class Kind:
    """A type of constraint: its inputs, one that a model meets, one that it does not, and `l_e` once more in numpy."""

    inputs: Callable[[int, int], Tensor]
    model: Callable[[], Any]
    met: Callable[[Any, Tensor, str], Any]
    unmet: Callable[[Any, Tensor, str], Any]
    l_e: Callable[[Any, Any], float]
    bad: dict[str, tuple[list[Any], str]]
    control: Callable[[int, int], Tensor] | None = None  # where it is not of the form of a constraint's inputs

    def prepared(self, editor: EditorOf[Any, Any, Any], model: Any) -> Any:
        control = self.control or self.inputs
        return editor.prepare(model, control(120, 11), control(120, 12))

    def holds(self, model: Any, constraints: list[Any]) -> tuple[bool, ...]:
        return tuple(self.l_e(model, one) <= 0 for one in constraints)


@torch.no_grad()
def outputs(model: EditableNetwork, one: Tensor) -> np.ndarray:
    found: np.ndarray = model(one[None].to(model.device))[0].double().cpu().numpy()
    return found


def log_ratio(model: EditableModel, one: Constraint) -> float:
    found = outputs(model, one.image)
    chances = np.exp(found - found.max()) / np.exp(found - found.max()).sum()
    return float(max(np.log(np.delete(chances, one.expected))) - np.log(chances[one.expected]))


def error_beyond_tolerance(model: EditableNetwork, one: RegressionConstraint) -> float:
    found = outputs(model, one.features)
    return float(np.abs(found - one.expected.numpy()).max() - np.float32(one.tolerance))


def class_of_rank(rank: int) -> Callable[[EditableModel, Tensor, str], Constraint]:
    return lambda model, image, key: Constraint(image, int(outputs(model, image).argsort()[-rank]), key)


def moved_by(distance: float) -> Callable[[EditableNetwork, Tensor, str], RegressionConstraint]:
    def constraint(model: EditableNetwork, features: Tensor, key: str) -> RegressionConstraint:
        wanted = torch.from_numpy(outputs(model, features)).float() + torch.tensor([distance, -distance / 2])
        return RegressionConstraint(features, wanted, 0.1, key)

    return constraint


def written(model: EditableNetwork, source: Tensor, wanted: tuple[int, ...] = ()) -> tuple[list[Any], float]:
    """A beam search in plain Python: (mean log p, tokens), the best first; and by how much `wanted` was dropped."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done, gap = [], 0.0
    for size in range(1, 6):
        candidates = []
        for total, tokens in live:
            row = [0, *tokens, *[2] * (5 - len(tokens))]
            scores = outputs(model, torch.tensor([[*source.tolist(), 2, 2], row]))[size - 1]
            logs = scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())
            candidates += [(total + float(log), (*tokens, token)) for token, log in enumerate(logs)]
        candidates.sort(reverse=True)
        mine = [total for total, tokens in candidates if size <= len(wanted) and tokens == wanted[:size]]
        if mine and gap == 0:
            gap = max(0.0, candidates[3][0] - mine[0]) / size
        live = [one for one in candidates[:4] if one[1][-1] != 1]
        done += [(total / size, tokens) for total, tokens in candidates[:4] if tokens[-1] == 1 or size == 5]
    return sorted(done, reverse=True), gap


def rival_over_wanted(model: EditableNetwork, one: SequenceConstraint) -> float:
    wanted = (*one.wanted.tolist(), 1)
    found, gap = written(model, one.source, wanted)
    scores = {tokens: score for score, tokens in found}
    return gap or max(score for tokens, score in scores.items() if tokens != wanted) - scores[wanted]


def sentence_of_rank(rank: int) -> Callable[[EditableNetwork, Tensor, str], SequenceConstraint]:
    def constraint(model: EditableNetwork, source: Tensor, key: str) -> SequenceConstraint:
        found = [tokens[:-1] for _, tokens in written(model, source)[0] if tokens[-1] == 1]
        return SequenceConstraint(source, torch.tensor(found[rank - 1]), SEARCH, key)

    return constraint


GOOD = small_images(1)[0]
NOT_A_NUMBER = GOOD.float().masked_fill(torch.ones_like(GOOD, dtype=torch.bool), float("nan"))
IMAGES = Kind(
    small_images,
    small_model,
    class_of_rank(1),
    class_of_rank(2),
    log_ratio,
    {
        "empty": ([], "no constraints"),
        "class": ([Constraint(GOOD, 4, "key")], "key: class 4"),
        "nan": ([Constraint(NOT_A_NUMBER, 0, "key")], "key: .*NaN"),
        "shape": ([Constraint(GOOD[:4], 0, "key")], "key: .*shape"),
        "contradiction": ([Constraint(GOOD, 0, "one"), Constraint(GOOD, 1, "two")], "one and two contradict"),
    },
)
FEATURES, ZERO = small_features(1)[0], torch.zeros(2)
REAL = Kind(
    small_features,
    small_network,
    moved_by(0.05),
    moved_by(0.3),
    error_beyond_tolerance,
    {
        "no values": ([], "no constraints"),
        "values": ([RegressionConstraint(FEATURES, torch.zeros(3), 0.1, "key")], "key: 3 values"),
        "dimensions": ([RegressionConstraint(FEATURES, torch.zeros(1, 2), 0.1, "key")], "key: .*shape"),
        "tolerance": ([RegressionConstraint(FEATURES, ZERO, 0.0, "key")], "key: the tolerance"),
        "infinite": ([RegressionConstraint(FEATURES, ZERO / 0, 0.1, "key")], "key: .*NaN"),
        "integers": ([RegressionConstraint(FEATURES.long(), ZERO, 0.1, "key")], "key: .*int64"),
        "features": ([RegressionConstraint(FEATURES[:4], ZERO, 0.1, "key")], "key: .*does not take"),
        "unequal": (
            [RegressionConstraint(FEATURES, ZERO, 0.1), RegressionConstraint(FEATURES[:4], ZERO, 0.1, "key")],
            "key: .*shape",
        ),
        "apart": (
            [RegressionConstraint(FEATURES, ZERO, 0.1, "one"), RegressionConstraint(FEATURES, ZERO + 0.3, 0.1, "two")],
            "one and two contradict",
        ),
        "mixed": ([RegressionConstraint(FEATURES, ZERO, 0.1), Constraint(GOOD, 0)], "several types"),
    },
)


def neighbours() -> NeighbourModel:
    return NeighbourModel(small_model(), small_images(120, 11), torch.arange(120) % 4, ("chain3", "chain4"), 3)


def conditional() -> ConditionalEditor:
    torch.manual_seed(5)
    network = ConditionNetwork.of(conditioned(small_model()))
    torch.nn.init.normal_(network.out.weight, std=0.3)
    return ConditionalEditor(network)


SOURCE, WORDS = small_sentences(1)[0], torch.tensor([3, 4])
SENTENCES = Kind(
    small_sentences,
    small_writer,
    sentence_of_rank(1),
    sentence_of_rank(2),
    rival_over_wanted,
    {
        "no sentences": ([], "no constraints"),
        "too long": ([SequenceConstraint(SOURCE, torch.full((5,), 3), SEARCH, "key")], "key: .*room for 4"),
        "special": ([SequenceConstraint(SOURCE, torch.tensor([3, 1]), SEARCH, "key")], "key: .*start, end or padding"),
        "reals": ([SequenceConstraint(SOURCE.float(), WORDS, SEARCH, "key")], "key: .*float32"),
        "greedy": ([SequenceConstraint(SOURCE, WORDS, replace(SEARCH, beam=1), "key")], "key: a beam of 1"),
        "searches": (
            [
                SequenceConstraint(SOURCE, WORDS, SEARCH),
                SequenceConstraint(SOURCE, WORDS, replace(SEARCH, beam=2), "key"),
            ],
            "key: its search",
        ),
        "two sentences": (
            [SequenceConstraint(SOURCE, WORDS, SEARCH, "one"), SequenceConstraint(SOURCE, WORDS[:1], SEARCH, "two")],
            "one and two contradict",
        ),
    },
    small_translations,
)


@dataclass(frozen=True)
class Case:
    """An editor, the model it edits, and the prefixes of the names that it may change."""

    editor: Callable[[], EditorOf[Any, Any, Any]]
    may_change: tuple[str, ...]
    model: Callable[[], Any] = small_model
    kind: Kind = IMAGES
    succeeds: bool = True  # on a model that was never trained for it
    halves: bool = True  # runs in bfloat16


CHAIN3 = ("backbone.chain3.",)
CASES = {
    **{
        name: Case(lambda name=name: GradientEditor(RULES[name](RATES[name]), Scope("chain3"), 40), CHAIN3)  # type: ignore[misc,call-arg]
        for name in RULES
    },
    "whole": Case(lambda: GradientEditor(RMSProp(0.01), Scope("whole"), 40), ("backbone.", "head.")),
    "head": Case(lambda: GradientEditor(RMSProp(0.05), Scope("head"), 40), ("head.",)),
    "ewc": Case(lambda: GradientEditor(RMSProp(0.02), Scope("chain3"), 40, penalty=ElasticPenalty(1.0, 50)), CHAIN3),
    "replay": Case(lambda: GradientEditor(RMSProp(0.02), Scope("chain3"), 40, penalty=RehearsalPenalty(1.0)), CHAIN3),
    "natural rule": Case(lambda: GradientEditor(NaturalRule(images=120), Scope("chain3"), 40), CHAIN3),
    "natural": Case(lambda: NaturalGradient(Scope("chain4")), ("backbone.chain4.",)),
    "sequential": Case(lambda: Sequential(GradientEditor(RMSProp(0.02), Scope("chain3"), 40)), CHAIN3),
    "patch": Case(lambda: CalibratedPatch(alpha=0.1, views=VIEWS), ("patch.",)),
    "cnp": Case(conditional, ("backbone.condition.",), lambda: conditioned(small_model()), succeeds=False),
    "grace": Case(lambda: Grace(radius=0.01), ("head.",), lambda: CodebookModel(small_model(), 8)),
    "dknn": Case(DeepNeighbours, ("head.",), neighbours, halves=False),
}
BY_GRADIENTS = (*RULES, "whole", "ewc", "natural rule", "natural")  # they know constraints by their `l_e` alone
CASES |= {f"{name}, real": replace(CASES[name], kind=REAL, model=REAL.model) for name in (*BY_GRADIENTS, "head")} | {
    f"{name}, sequence": replace(CASES[name], kind=SENTENCES, model=SENTENCES.model, halves=False)
    for name in (*RULES, "whole", "natural rule", "natural")
}
CASES["slots, sequence"] = Case(
    lambda: CalibratedSentences(alpha=0.1), ("patch.",), SENTENCES.model, SENTENCES, halves=False
)
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def snapshot(model: EditableNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@every
@pytest.mark.parametrize("device", DEVICES)
def test_success_means_that_the_constraint_holds_and_the_root_stays(case: Case, device: str) -> None:
    model, kind = case.model().to(device), case.kind
    editor = case.editor()
    state = kind.prepared(editor, model)
    kept, mode = snapshot(model), model.training
    wanted = kind.unmet(model, kind.inputs(1, 1)[0], "one")
    result = editor.edit(model, [wanted], state)
    assert result.success == result.holds[0] and result.holds == kind.holds(result.model, [wanted])
    assert (result.reason == "") == result.success and result.seconds > 0
    assert result.success or not case.succeeds
    assert model.training == mode and not result.model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[name]), name
    changed = [name for name, value in result.model.state_dict().items() if not torch.equal(value, kept[name])]
    assert bool(changed) == (result.steps > 0) and all(name.startswith(case.may_change) for name in changed)


@every
def test_what_holds_already_takes_no_steps(case: Case) -> None:
    model, kind, editor = case.model(), case.kind, case.editor()
    satisfied = kind.met(model, kind.inputs(1, 1)[0], "")
    result = editor.edit(model, [satisfied], kind.prepared(editor, model))
    assert result.success and result.steps == 0 and result.holds == (True,)
    for name, value in model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name]), name


@every
def test_same_seed_same_result_whatever_was_random_before(case: Case) -> None:
    found, kind = [], case.kind
    for noise in (1, 2):
        model, editor = case.model(), case.editor()
        torch.manual_seed(noise)
        state = kind.prepared(editor, model)
        found.append(editor.edit(model, [kind.unmet(model, kind.inputs(1, 1)[0], "")], state))
    assert found[0].steps == found[1].steps
    for name, value in found[0].model.state_dict().items():
        assert torch.equal(value, found[1].model.state_dict()[name]), name


@every
def test_several_at_once(case: Case) -> None:
    model, kind, editor = case.model(), case.kind, case.editor()
    constraints = [kind.unmet(model, one, str(index)) for index, one in enumerate(kind.inputs(4, 1))]
    result = editor.edit(model, constraints, kind.prepared(editor, model))
    holds = kind.holds(result.model, constraints)
    assert result.holds == holds and result.success == all(holds) == (result.reason == "")


@every
def test_bfloat16(case: Case) -> None:
    if not case.halves:
        pytest.skip("the numbers of neighbours, and close scores of hypotheses, do not fit into bfloat16")
    model, kind, editor = case.model().bfloat16(), case.kind, case.editor()
    wanted = kind.unmet(model, kind.inputs(1, 1)[0], "")
    result = editor.edit(model, [wanted], kind.prepared(editor, model))
    assert result.success == kind.holds(result.model, [wanted])[0]
    assert next(result.model.parameters()).dtype == torch.bfloat16
    assert result.success or not case.succeeds


@pytest.mark.parametrize("kind", [IMAGES, REAL, SENTENCES], ids=["classification", "regression", "sequence"])
def test_l_e_is_what_numpy_finds_and_its_gradient_the_finite_difference(kind: Kind) -> None:
    model = kind.model().double()
    layers = Scope("chain4").resolve(model)
    constraints = [kind.unmet(model, one, str(index)) for index, one in enumerate(kind.inputs(5, 3))]
    demands, tail = gather(model, constraints), layers.frozen_tail(model)
    hidden = before(model, demands.inputs, layers.cut).detach()
    params = {name: value.detach() for name, value in layers.parameters(model).items()}
    found = demands.measure.violations(tail, params, hidden, demands.targets)
    np.testing.assert_allclose(found, [kind.l_e(model, one) for one in constraints], atol=1e-12)
    name = next(name for name in layers.names if name.endswith("weight"))
    gradients = demands.measure.gradients(tail, params, [name], hidden, demands.targets)[name]
    way = torch.randn(params[name].shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = []
    for sign in (1, -1):
        moved = layers.copy(model)
        layers.write(moved, {**params, name: params[name] + sign * 1e-6 * way})
        ends.append([kind.l_e(moved, one) for one in constraints])
    slopes = (np.array(ends[0]) - np.array(ends[1])) / 2e-6
    np.testing.assert_allclose((gradients * way).flatten(1).sum(1), slopes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("source", small_sentences(2, seed=9))
def test_a_sentence_holds_iff_the_search_says_it_also_where_the_search_drops_it(source: Tensor) -> None:
    network, seen = small_writer(), {"said": 0, "found": 0, "dropped": 0}
    said = SEARCH.says(network, source)
    second = written(network, source)[0][1][1][:-1]
    for words in {*permutations(source.tolist()), said, second}:
        one = SequenceConstraint(source, torch.tensor(words), SEARCH)
        demands = gather(network, [one])
        with torch.no_grad():
            (l_e,) = demands.measure.violations(lambda _, pairs: network(pairs), {}, demands.inputs, demands.targets)
        found, gap = written(network, source, (*words, 1))
        assert float(l_e) == pytest.approx(rival_over_wanted(network, one), abs=1e-5)
        assert (float(l_e) <= 0) == (words == said) == (found[0][1] == (*words, 1))
        seen["dropped" if gap else "said" if words == said else "found"] += 1
    assert min(seen.values()) >= 1, seen


REFUSED = {f"{name}, {what}": (case, *bad) for name, case in CASES.items() for what, bad in case.kind.bad.items()}


@pytest.mark.parametrize(("case", "constraints", "named"), REFUSED.values(), ids=REFUSED)
def test_bad_constraints_are_refused_by_name(case: Case, constraints: list[Any], named: str) -> None:
    model, editor = case.model(), case.editor()
    with pytest.raises(ConstraintError, match=named):
        editor.edit(model, constraints, case.kind.prepared(editor, model))


@pytest.mark.parametrize("make", [lambda scope: GradientEditor(RMSProp(), scope), NaturalGradient])
def test_layers_that_match_nothing_are_refused(make: Callable[[Scope], Editor[Any]]) -> None:
    with pytest.raises(ScopeError, match="chain9"):
        editor, model = make(Scope("chain9")), small_model()
        editor.edit(model, [Constraint(GOOD, 0)], IMAGES.prepared(editor, model))
    assert issubclass(ScopeError, ErrataError)


def test_views_are_of_images() -> None:
    editor, model = NaturalGradient(Scope("chain4"), views=VIEWS), small_network()
    with pytest.raises(ConstraintError, match="views are drawn of images"):
        editor.edit(model, [REAL.unmet(model, FEATURES, "")], REAL.prepared(editor, model))
