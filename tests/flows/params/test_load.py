"""Every fault of params.yaml is told at once, before anything slow is imported; what it leaves out has its default."""

import subprocess
import sys
from pathlib import Path

import pytest

from errata.editing.errors import DataError
from errata.flows.params import Params, parse_params
from errata.flows.workspace import Workspace
from tests.flows.conftest import REPOSITORY

ALIASES = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7))


def told(text: str) -> list[str]:
    """The faults of a file, a line each."""
    with pytest.raises(DataError) as fault:
        parse_params(text.encode())
    return [line.strip() for line in str(fault.value).removeprefix("params.yaml: ").splitlines()]


def test_the_committed_file_and_an_empty_one_say_the_same() -> None:
    """But for whom the demonstration trusts: by default nobody is."""
    committed = Workspace(REPOSITORY).params
    assert committed.trust.trusted == ("traffic",)
    trust = committed.trust.model_copy(update={"trusted": ()})
    assert committed.model_copy(update={"trust": trust}) == Params() == parse_params(b"")
    assert parse_params(b"edit:\ntrust: {}\n") == Params()


def test_what_is_given_holds_and_the_rest_is_default() -> None:
    found = parse_params(b"seed: 3\nedit: {alpha: 1e-3}\ndata: {splits: {gate: -1}}\nviews: {light: 0}\n")
    assert (found.seed, found.edit.alpha, found.data.splits.gate, found.views.light) == (3, 0.001, -1, 0.0)
    changed = {"seed", "edit", "data", "views"}
    assert found.model_dump(exclude=changed) == Params().model_dump(exclude=changed)
    assert found.edit.margin == 2.0 and found.data.splits.train == 350


def test_the_network_for_digits_is_given_to_no_other_architecture() -> None:
    assert parse_params(b"model: {architecture: timm}").model.arguments == {}
    given = parse_params(b"model: {arguments: {width: 4, name: a, bias: true, ratio: 0.5}}").model.arguments
    assert given == {"width": 4, "name": "a", "bias": True, "ratio": 0.5}


def test_a_fault_is_told_once() -> None:
    assert told("model: {architecture: 3}") == ["model.architecture: 3 is not allowed; it takes: text"]


def test_every_fault_is_told_with_its_path_and_what_is_allowed() -> None:
    faults = told(
        """
        edti: {}
        seed: "2"
        data: {image_shape: [8, 8], splits: {holdout: 3}}
        model: {mean: [a, 0.3], arguments: {width: [1]}}
        train: {method: editible, epochs: 2.5}
        views: {flip: yes, noise: .nan, unseen: 0}
        edit: {alhpa: 0.1, alpha: 1, rule: {beta: high}}
        gate: 3
        trust: {trusted: [7], patience_days: .inf}
        """
    )
    assert faults[0] == "17 faults"
    assert sorted(faults[1:]) == sorted(
        [
            "edti: no parameter is called so; did you mean edit?",
            'seed: "2" is not allowed; it takes: integer, at least 0',
            "data.image_shape: [8, 8] is not allowed; it takes: list of 3 integers or null",
            "data.splits.holdout: no parameter is called so; "
            "there are train, reference, calibration, gate, test, traffic, sealed",
            'model.mean: ["a", 0.3] is not allowed; it takes: list of numbers',
            'model.arguments: {"width": [1]} is not allowed; '
            "it takes: mapping of names to integer or number or text or true or false",
            'train.method: "editible" is not allowed; it takes: one of auto, editable, plain',
            "train.epochs: 2.5 is not allowed; it takes: integer, at least 1",
            'views.flip: "yes" is not allowed; it takes: true or false',
            "views.noise: NaN is not allowed; it takes: number, at least 0 and below 1",
            "views.unseen: 0 is not allowed; it takes: integer, at least 1",
            "edit.alhpa: no parameter is called so; did you mean alpha?",
            "edit.alpha: 1 is not allowed; it takes: number, at least 0 and below 1",
            'edit.rule: {"beta": "high"} is not allowed; it takes: mapping of names to number',
            "gate: 3 is not allowed; it takes: mapping of its parameters",
            "trust.trusted: [7] is not allowed; it takes: list of texts",
            "trust.patience_days: Infinity is not allowed; it takes: number, above 0 and at most 36500",
        ]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "must hold sections of parameters"),
        ("a: [", "is not YAML"),
        ("seed: 1\nseed: 2", "duplicate key"),
        ("a: &a [*a]", "holds what no parameter can"),
        ("? [1, 2]\n: 3", "holds what no parameter can"),
        (ALIASES, "with its aliases written out"),
    ],
)
def test_what_is_no_file_of_parameters_is_refused(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_params(text.encode())


COMMANDS = {
    "a stage": "from errata.flows.stages.__main__ import main; sys.exit(main(['edit']))",
    "errata correct": "from errata.flows.cli.app import main; sys.argv = ['errata', 'correct']; main()",
    "errata train": "from errata.flows.cli.app import main; sys.argv = ['errata', 'train']; main()",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_faults_are_told_before_anything_slow_is_imported(command: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: first\nedit: {alhpa: 0.1}\n")
    program = f"""
import sys
try:
    {COMMANDS[command]}
except SystemExit as left:
    print(left.code, sorted({{"torch", "prefect", "pandas", "great_expectations"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
    )
    assert done.stdout.strip() == "1 []", done.stderr
    assert "2 faults" in done.stderr and "seed:" in done.stderr and "did you mean alpha?" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml"]
