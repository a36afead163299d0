"""The editor that params.yaml names."""

from __future__ import annotations

from typing import Any

from editing.editors.patch import CalibratedPatch
from editing.errors import DataError
from editing.types import Editor
from editing.views import ViewSettings
from flows.params import EditParams


def build_editor(params: EditParams, views: ViewSettings, seed: int) -> Editor[Any]:
    """An editor ready to use; raises DataError if no editor has that name."""
    if params.editor == "patch":
        return CalibratedPatch(alpha=params.alpha, gamma=params.gamma, views=views, seed=seed)
    raise DataError(f"params.yaml: edit.editor: no editor is called {params.editor!r}; known: patch")
