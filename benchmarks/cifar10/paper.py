"""The paper's three tables, row by row, and the editors past the paper beside them."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from benchmarks.cifar10.data import CLASSES, VIEWS
from benchmarks.cifar10.models import conditional_model, editable_model
from benchmarks.cifar10.tables import Bench, Row, elastic_editor, gradient_row, measured, tuned_rule, write_table
from benchmarks.report import environment
from benchmarks.rows import read_row
from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.editors.natural import NaturalGradient
from errata.editing.editors.natural_rule import NaturalRule
from errata.editing.editors.patch import CalibratedPatch
from errata.editing.model import EditableModel
from errata.editing.scopes import Scope
from errata.editing.studies.analysis import Subject, draw_harm, draw_maps, edit_map, harm_matrix, kl_profiles
from errata.editing.studies.cnp import ConditionalEditor
from errata.editing.studies.compare import draw_frontier
from errata.editing.studies.dknn import DeepNeighbours, NeighbourModel
from errata.editing.studies.protocol import Control
from errata.editing.types import Editor

NAMES = {
    "gd": "Gradient descent",
    "scaled_gd": "Scaled GD",
    "rprop": "RProp",
    "rmsprop": "RMSProp",
    "momentum": "Momentum",
    "adam": "Adam",
}
SCOPES = {
    "head": "Head",
    "chain4": "Chain 4",
    "chain3": "Chain 3",
    "chain2": "Chain 2",
    "chain1": "Chain 1",
    "whole": "Whole model",
}
WEIGHTS = ((1.0, 1.0), (0.1, 0.1), (0.1, 0.01))  # c_edit, c_loc; the paper gives c_loc only: 0.01 and 0.1
NEIGHBOURS = 5
MAPPED = 2_000  # test images by whose changes an edit is described on the map


def table1(bench: Bench, plain: EditableModel) -> None:
    """Plain training, every update rule on chain 3; then the two editors past the paper."""
    rough = cache(lambda: bench.rough_control(plain))
    rows = past_the_paper(bench, plain)
    for rule in ("rmsprop", "rprop", "gd", "scaled_gd", "momentum", "adam"):
        rows.append(gradient_row(bench, plain, rough, bench.key(f"plain-{rule}-chain3"), NAMES[rule], rule, "chain3"))
        about = "Plainly trained ResNet-18, editable layers: chain 3, one row an update rule (the paper's Table 1)."
        write_table(bench, "table1", "Table 1: update rules", about, rows)


def past_the_paper(bench: Bench, plain: EditableModel) -> list[Row]:
    """Natural gradient and calibrated patch on the plain model."""
    control = cache(lambda: bench.control(plain))
    views = VIEWS.model_copy(update={"fitting": 9})
    editors: dict[str, tuple[str, Editor[Any]]] = {
        "natural-rule-chain3": ("**Natural gradient, the rule**", GradientEditor(NaturalRule(), Scope("chain3"))),
        "natural-chain4": ("**Natural gradient**", NaturalGradient(Scope("chain4"))),
        "natural-views-chain4": ("**Natural gradient, 9 views**", NaturalGradient(Scope("chain4"), views=views)),
        "patch": ("**Calibrated patch**", CalibratedPatch(views=VIEWS)),
    }
    return [measured(bench, control, bench.key(f"plain-{key}"), *editor) for key, editor in editors.items()]


def table2(bench: Bench, plain: EditableModel) -> None:
    """Plain training, RMSProp on every choice of editable layers, cheap ones first."""
    control = cache(lambda: bench.rough_control(plain))
    rows = []
    for scope, name in SCOPES.items():
        rows.append(gradient_row(bench, plain, control, bench.key(f"plain-rmsprop-{scope}"), name, "rmsprop", scope))
        about = "Plainly trained ResNet-18, RMSProp, one row a choice of editable layers (the paper's Table 2)."
        write_table(bench, "table2", "Table 2: editable layers", about, rows)


def table3(bench: Bench, plain: EditableModel) -> None:
    """Editable Training beside plain training, the other baselines, and the editors past the paper."""
    control = cache(lambda: bench.rough_control(plain))
    rows = [
        *past_the_paper(bench, plain),
        gradient_row(bench, plain, control, bench.key("plain-rmsprop-chain3"), "Plain, RMSProp", "rmsprop", "chain3"),
    ]
    about = (
        "Editable Training (RMSProp, chain 3, learned coefficients) fine-tuned from the plain model, beside plain "
        "training and the other baselines (the paper's Table 3). Test errors differ where the models do."
    )

    def add(row: Row) -> None:
        rows.append(row)
        write_table(bench, "table3", "Table 3: Editable Training and other baselines", about, rows)

    train = bench.data.train

    def memories() -> Control:
        return bench.control(NeighbourModel(plain, train.images, train.labels, ("chain3", "chain4"), NEIGHBOURS))

    add(measured(bench, memories, bench.key("dknn"), "Deep k-NN", DeepNeighbours()))
    for name in ("rmsprop", "gd"):
        held = elastic_editor(bench, plain, bench.key(f"ewc-{name}"), name, "chain3")
        add(measured(bench, control, bench.key(f"ewc-{name}"), f"EWC, {NAMES[name]}", held))
    for edit, locality in WEIGHTS:
        key = bench.key(f"editable-{edit:g}-{locality:g}")
        model, learned = editable_model(bench.cache / key, plain, edit, locality, bench.data, bench.device)
        trained = partial(bench.rough_control, model)
        name = f"Editable, c_edit {edit:g}, c_loc {locality:g}"
        add(measured(bench, trained, key, f"{name}, learned rule", GradientEditor(learned, Scope("chain3"))))
        tuned = bench.key(f"editable-{edit:g}-{locality:g}-tuned")
        add(gradient_row(bench, model, trained, tuned, f"{name}, tuned rule", "rmsprop", "chain3"))
    conditional, network = conditional_model(bench.cache / bench.key("cnp"), plain, bench.data, bench.device)
    with_vector = partial(bench.rough_control, conditional)
    add(measured(bench, with_vector, bench.key("cnp"), "Editable + CNP", ConditionalEditor(network)))


def analysis(bench: Bench, plain: EditableModel) -> None:
    """Section 4.2, the plain model beside an editable one: harm by class, and a map of the edits (RMSProp, chain 3)."""
    edit, locality = WEIGHTS[0]
    key = bench.key(f"editable-{edit:g}-{locality:g}")
    editable, _ = editable_model(bench.cache / key, plain, edit, locality, bench.data, bench.device)
    labels = bench.data.test.labels.numpy()
    part = slice(0, MAPPED)
    subjects = []
    for name, model, tuned in (
        ("plain training", plain, bench.key("plain-rmsprop-chain3")),
        ("Editable Training", editable, bench.key(f"editable-{edit:g}-{locality:g}-tuned")),
    ):
        rule = tuned_rule(bench, model, tuned, "rmsprop", "chain3")
        control = bench.rough_control(model)
        found = gradient_row(bench, model, lambda control=control: control, tuned, name, "rmsprop", "chain3")  # type: ignore[misc]
        asked = [one for one, trial in zip(bench.demands, found.trials, strict=True) if not trial.already]
        profiles = kl_profiles(GradientEditor(rule, Scope("chain3")), GradientState(), control, asked)[:, part]
        edited = labels[[one.image for one in asked]]
        subjects.append(Subject(name, harm_matrix(found.trials, labels), edit_map(profiles), edited))
    draw_harm(subjects, CLASSES, bench.out / f"harm-width{bench.width}.png")
    draw_maps(subjects, CLASSES, bench.out / f"map-width{bench.width}.png")
    text = (
        f"# Where the harm of an edit goes\n\nCIFAR-10, ResNet-18 of width {bench.width} (the paper's section 4.2): "
        f"RMSProp on chain 3, tuned, after plain training and after Editable Training (c_edit {edit:g}, "
        f"c_loc {locality:g}); of {bench.edits} edits those that ask for a change. Change of the error rate by class "
        f"edited and class harmed, and a map of the edits by what they do to {MAPPED:,} test images (t-SNE of square "
        f"roots of KL).\n\n![Harm by class](harm-width{bench.width}.png)\n\n"
        f"![Map of edits](map-width{bench.width}.png)\n\n"
        f"{environment(bench.device)} Made by `python -m benchmarks.cifar10 --width {bench.width} --parts analysis`.\n"
    )
    (bench.out / f"analysis-width{bench.width}.md").write_text(text)


def frontier(bench: Bench, plain: EditableModel) -> None:
    """Every finished row of the plain model's single edits in one picture, drawdown against generalization."""
    names = {
        "natural-rule-chain3": "natural gradient as a rule, chain 3",
        "natural-chain4": "natural gradient, chain 4",
        "natural-views-chain4": "natural gradient on views, chain 4",
        "patch": "calibrated patch",
    }
    names |= {f"{rule}-{scope}": f"{NAMES[rule]}, {SCOPES[scope].lower()}" for rule in NAMES for scope in SCOPES}
    paths = {name: bench.cache / "rows" / f"{bench.key(f'plain-{key}')}.jsonl" for key, name in names.items()}
    trials = {name: read_row(path) for name, path in paths.items() if path.exists()}
    whole = {name: found for name, found in trials.items() if len(found) >= bench.edits}
    if whole:
        draw_frontier(whole, bench.out / f"frontier-width{bench.width}.png")
