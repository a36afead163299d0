"""Arrows run one way, between packages, between the rooms of flows/, and between files: read from the sources, so that
none hides in a function or behind TYPE_CHECKING."""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("editing", "data", "flows", "serving", "benchmarks")  # where they lie; imported as `errata.data` and so on
FORBIDDEN = {
    "editing": {"data", "flows", "serving", "benchmarks", "prefect", "dvc", "great_expectations", "boto3", "pandas"},
    "data": {"flows", "serving", "benchmarks", "prefect", "dvc"},
    "serving": {"flows", "benchmarks", "prefect", "dvc", "great_expectations", "torch"},
    "flows": {"serving", "benchmarks"},
}
EDITING_SEEN_BY = {
    "data": {"editing.engine", "editing.errors", "editing.settings", "editing.vision"},
    "serving": {"editing.errors", "editing.onnx.classifier"},
}
FLOORS = {  # of a package, from the top: a room takes from itself and from lower floors only
    "editing": (
        {"studies"},
        {"training", "onnx"},
        {"kinds"},
        {"editors"},
        {"types", "features", "pretrained"},
        {"constraints"},
        {"model", "rules"},
        {"networks", "scopes"},
        {"network", "engine", "views", "whitening"},
        {"batches", "devices", "likelihoods", "metrics", "ray_engine", "tensors", "vision"},
        {"errors", "settings"},
    ),
    "flows": (
        {"cli"},
        {"correct_model", "train_model"},
        {"prefect_runs"},
        {"night"},
        {"releases", "deferral"},
        {"stages"},
        {"gate"},
        {"workspace"},
        {"params"},
    ),
    "data": (
        {"expectations"},
        {"belief"},
        {"inbox", "releases"},
        {"reports", "splits"},
        {"storage", "datasets"},
        {"image_files", "spool"},
        {"layout", "images", "records", "kept_blocks", "telemetry", "connections"},
    ),
}


@cache
def modules() -> dict[str, Path]:
    """Every file of the packages by its module's name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """What a file imports, wherever in it: modules, and for `from a import b` both `a` and `a.b`; ours by folder."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    bare = {name for name in found if name.split(".")[0] in PACKAGES[:-1]}
    assert not bare, f"{path} imports {bare}: their one name is errata, for others may have a package called so"
    return {name.removeprefix("errata.") for name in found}


def arrows(name: str) -> set[str]:
    """The files that the file of module `name` takes from: of `from package import module` the module alone."""
    own = imports(modules()[name]) & set(modules())
    return {each for each in own if not any(other.startswith(f"{each}.") for other in own)} - {name}


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_packages_import_one_way(package: str) -> None:
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for name in imports(path):
            top, narrow = name.split(".")[0], EDITING_SEEN_BY.get(package)
            unseen = (
                top == "editing"
                and narrow is not None
                and not any(f"{name}.".startswith(f"{each}.") for each in narrow)
            )
            if top in FORBIDDEN[package] or unseen:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_file_imports_itself_by_way_of_others() -> None:
    try:
        order = list(TopologicalSorter({name: arrows(name) for name in modules()}).static_order())
    except CycleError as circle:
        pytest.fail(f"a circle: {' -> '.join(circle.args[1])}")
    assert set(order) == set(modules())


def test_what_a_night_can_use_imports_nothing_that_only_studies_use() -> None:
    studies = ("editing.studies", "flows.cli.studies", "flows.cli.root_studies", "benchmarks")
    wrong = [
        f"{name} imports {other}"
        for name in modules()
        for other in sorted(arrows(name))
        if other.startswith("editing.studies") and not name.startswith(studies)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_rooms_import_downwards(package: str) -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS[package]) for room in rooms}
    inside = {name for name in modules() if name.startswith(f"{package}.")}
    wrong = []
    for name in inside:
        own = name.split(".")[1]
        for other in arrows(name) & inside:
            if (room := other.split(".")[1]) != own and floor[room] <= floor[own]:
                wrong.append(f"{name} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_flows_is_seen_in_one_look() -> None:
    entries = {path.name for path in (ROOT / "flows").iterdir()} - {"__pycache__"}
    assert len(entries) <= 12, entries
    for room in sorted(path for package in FLOORS for path in (ROOT / package).rglob("__init__.py")):
        sentence = ast.get_docstring(ast.parse(room.read_text()))
        assert sentence and sentence.count(".") >= 1, f"{room} does not say what it is"
