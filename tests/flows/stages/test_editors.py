"""params.yaml's editor is the method's, with the coefficients that were given or learned."""

from pathlib import Path
from typing import Any, get_args

import pytest

from errata.editing.editors.ewc import ElasticPenalty
from errata.editing.editors.gradient import GradientEditor
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.errors import Damaged, DataError
from errata.editing.rules import GradientDescent, RMSProp, Rule
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.types import Editor
from errata.flows.params import EditParams
from errata.flows.params.sections import EditorName
from errata.flows.stages.editors import KNOWN, build_editor, learned_rule

VIEWS = ViewSettings(fitting=5)
LEARNED = RMSProp(0.007, 0.4)


def built(learned: Rule | None = None, **values: Any) -> Editor[Any]:
    return build_editor(EditParams(**values), VIEWS, 3, learned)


def test_each_name_is_its_editor() -> None:
    assert built() == CalibratedPatch(views=VIEWS, seed=3)
    patch: dict[str, Any] = {"alpha": 0.01, "gamma": 2.0, "eps": 0.02, "margin": 0.5, "faintest": 0.2, "weakest": 0.4}
    assert built(**patch, rule_margin=9.0) == CalibratedPatch(**patch, views=VIEWS, seed=3)
    assert built(editor="natural") == NaturalGradient(Scope("chain3"), steps=10, views=VIEWS, seed=3)
    assert built(editor="natural", scope="head", steps=7, rule_margin=0.2) == NaturalGradient(
        Scope("head"), steps=7, margin=0.2, views=VIEWS, seed=3
    )
    assert built(editor="gd", rule={"learning_rate": 0.5}) == GradientEditor(
        GradientDescent(0.5), Scope("chain3"), 10, 0.05
    )
    natural = built(editor="natural_rule", scope="chain4", penalty=2.5, rule_margin=0.1)
    assert natural == GradientEditor(NaturalRule(), Scope("chain4"), 10, 0.1, ElasticPenalty(2.5, seed=3))


def test_learned_coefficients_serve_their_own_rule_unless_others_are_given() -> None:
    def rule(**values: Any) -> Any:
        editor = built(LEARNED, **values)
        assert isinstance(editor, GradientEditor)
        return editor.rule

    assert rule(editor="rmsprop") == RMSProp(0.007, 0.4)
    assert rule(editor="rmsprop", rule={"beta": 0.8}) == RMSProp(beta=0.8)
    assert rule(editor="gd") == GradientDescent()


def test_the_learned_rule_is_read_where_training_wrote_it(tmp_path: Path) -> None:
    assert learned_rule(tmp_path) is None
    written = tmp_path / "training.json"
    written.write_text('{"losses": [], "settings": {}, "rule": {}}')
    assert learned_rule(tmp_path) is None
    rule = '{"name": "rmsprop", "learning_rate": 0.007, "beta": 0.4, "epsilon": 1e-08}'
    written.write_text(f'{{"losses": [0.5], "settings": {{"seed": 1}}, "rule": {rule}}}')
    assert learned_rule(tmp_path) == LEARNED
    for damaged in ('{"losses": [], "settings": {}, "rule": {"name": "rmsprop", "beta": "0.4"}}', '{"rule"', "[]"):
        written.write_text(damaged)
        with pytest.raises(Damaged, match=r"training\.json cannot be read"):
            learned_rule(tmp_path)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"editor": "gd", "rule": {"momentum": 0.9}}, "gd has no coefficient 'momentum'; it has learning_rate"),
        ({"editor": "natural_rule", "rule": {"fisher": 1.0}}, "natural_rule has no coefficient 'fisher'"),
    ],
)
def test_a_coefficient_that_does_not_exist_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named):
        built(**values)


def test_the_editors_that_parameters_may_name_are_those_there_are() -> None:
    for name in get_args(EditorName):
        assert built(editor=name) is not None
    assert set(get_args(EditorName)) == {"patch", "natural", *KNOWN}
    unknown = EditParams().model_copy(update={"editor": "sgd"})  # as `errata compare --editor sgd` asks
    with pytest.raises(DataError, match="no editor is called 'sgd'; known: patch, natural, gd"):
        build_editor(unknown, VIEWS, 3)
