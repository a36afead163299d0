import sys
import tomllib
from pathlib import Path

import pytest

from errata.editing.errors import NotInstalled
from errata.editing.studies.requirements import require

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_what_is_missing_is_named_with_the_extra_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require("optuna", "matplotlib")
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not installed
    with pytest.raises(NotInstalled, match=r"^optuna not installed; `pip install 'errata-models\[studies\]'`"):
        require("matplotlib", "optuna")


def test_the_extra_is_declared_and_holds_it() -> None:
    extras = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    assert {"optuna", "errata-models[night]"} <= set(extras["studies"])
    assert "matplotlib" in extras["night"]
