"""The method: constraints, editors, training, metrics and export. Imports torch and numpy, never Prefect, DVC or S3.

    from errata.editing import Constraint, edit, load_model

    root = load_model(Path("artifacts/root"))
    result = edit(root, [Constraint(image, expected=3)], reference=reference, calibration=calibration)
    assert result.success, result.reason
    result.model(image[None]).argmax()                      # 3; `root` is as it was

Names are imported when they are first used, so that `import editing` alone costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from torch import Tensor

    from errata.editing.editors.natural import NaturalGradient
    from errata.editing.editors.patch import CalibratedPatch
    from errata.editing.model import EditableModel, ModelSpec, fit_patch, load_model, save_model
    from errata.editing.network import EditableNetwork
    from errata.editing.onnx.classifier import OnnxClassifier
    from errata.editing.onnx.export import export_onnx
    from errata.editing.scopes import Scope
    from errata.editing.settings import ViewSettings
    from errata.editing.types import Constraint, Editor, EditorOf, EditResult

    M = TypeVar("M", bound=EditableNetwork)
    C = TypeVar("C")

__all__ = [
    "CalibratedPatch",
    "Constraint",
    "EditResult",
    "EditableModel",
    "Editor",
    "ModelSpec",
    "NaturalGradient",
    "OnnxClassifier",
    "Scope",
    "ViewSettings",
    "edit",
    "export_onnx",
    "fit_patch",
    "load_model",
    "save_model",
]

_HOMES = {
    "CalibratedPatch": "errata.editing.editors.patch",
    "Constraint": "errata.editing.types",
    "EditResult": "errata.editing.types",
    "EditableModel": "errata.editing.model",
    "Editor": "errata.editing.types",
    "ModelSpec": "errata.editing.model",
    "NaturalGradient": "errata.editing.editors.natural",
    "OnnxClassifier": "errata.editing.onnx.classifier",
    "Scope": "errata.editing.scopes",
    "ViewSettings": "errata.editing.settings",
    "export_onnx": "errata.editing.onnx.export",
    "fit_patch": "errata.editing.model",
    "load_model": "errata.editing.model",
    "save_model": "errata.editing.model",
}


@overload
def edit(
    model: EditableModel,
    constraints: Sequence[Constraint],
    *,
    reference: Tensor,
    calibration: Tensor,
    editor: Editor[Any] | None = None,
) -> EditResult: ...


@overload
def edit(
    model: M, constraints: Sequence[C], *, reference: Tensor, calibration: Tensor, editor: EditorOf[Any, M, C]
) -> EditResult[M]: ...


def edit(
    model: Any, constraints: Sequence[Any], *, reference: Tensor, calibration: Tensor, editor: Any = None
) -> EditResult[Any]:
    """Correct `model` for all constraints together; the result holds an edited copy, or says why not.

    `reference` is what an editor may fit to and `calibration` what it may set thresholds on: disjoint control inputs, a
    few thousand each, images uint8 `[n, height, width, channels]`. `editor` is the calibrated patch unless given; a
    network with real outputs or one that writes sentences needs one (docs/method.md). For many edits of one root, call
    `editor.prepare` once and `editor.edit` for each. Raises ConstraintError on bad input.
    """
    if editor is None:
        from errata.editing.editors.patch import CalibratedPatch  # noqa: PLC0415

        editor = CalibratedPatch()
    found: EditResult[Any] = editor.edit(model, constraints, editor.prepare(model, reference, calibration))
    return found


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)  # kept: pdoc looks for names, not attributes
    return found
