"""Packages that only some studies need: whether they are installed, and what to install if they are not."""

from __future__ import annotations

from importlib.util import find_spec

from errata.editing.errors import NotInstalled


def require(*packages: str) -> None:
    """Raise NotInstalled unless every one of `packages` can be imported; nothing is imported."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise NotInstalled(
            f"{', '.join(missing)} not installed; `pip install 'errata-models[studies]'` has all that studies need"
        )
