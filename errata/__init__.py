"""Corrects deployed image classifiers: reported mispredictions become proven, traceable edits of the weights.

    from errata import Constraint, edit, load_model

The names of `errata.editing` are here too. In the repository the packages `data`, `editing`, `flows` and `serving` lie
beside this folder, which links to them; everybody imports them as `errata.data` and so on, so that none of them clashes
with somebody's own `data`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from errata import editing

if TYPE_CHECKING:
    from errata.editing import *  # noqa: F403 - what `__all__` names

__all__ = editing.__all__


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(editing, name)  # imported when it is first used, so that `import errata` alone costs nothing
