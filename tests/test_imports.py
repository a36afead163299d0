"""Arrows run one way: flows -> data -> editing, serving -> data. Read from the sources: none hides in a function."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "editing": {"data", "flows", "serving", "benchmarks", "prefect", "dvc", "great_expectations", "boto3", "pandas"},
    "data": {"flows", "serving", "benchmarks", "prefect", "dvc"},
    "serving": {"flows", "benchmarks", "prefect", "dvc", "great_expectations", "torch"},
    "flows": {"serving", "benchmarks"},
}
EDITING_SEEN_BY = {"data": {"editing.errors", "editing.vision"}, "serving": {"editing.errors", "editing.classifier"}}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_arrows_run_one_way(package: str) -> None:
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for name in imports(path):
            top = name.split(".")[0]
            narrow = EDITING_SEEN_BY.get(package)
            if top in FORBIDDEN[package] or (top == "editing" and narrow is not None and name not in narrow):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)
