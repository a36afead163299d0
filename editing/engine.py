"""Where work is done that falls into parts: in this process, or on the machines of a Ray cluster.

    ERRATA_ENGINE unset or empty    this process
    ERRATA_ENGINE=ray               the Ray cluster that RAY_ADDRESS names or that runs here, else one of its own
    ERRATA_ENGINE=ray://host:10001  that cluster (or host:6379, from one of its machines)

Results come in the order of the items and are the same from either, so a release does not know where it was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

from errata.editing.errors import NotInstalled

ENGINE = "ERRATA_ENGINE"
Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Applies a function to many items."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """`function` of each item, in order; what it raises is raised. Few items are taken ahead of the one at hand.

        Function, items and results may travel to other processes: they are pickled. A function is called again for an
        item whose machine went away, so it must change nothing, or the same twice.
        """
        ...


@dataclass(frozen=True)
class ThisProcess:
    """One item after the other, when its result is asked for."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        return map(function, items)


def chosen_engine() -> Engine:
    """The engine that the environment names, the same one each time. Raises NotInstalled without Ray."""
    return _engine(os.environ.get(ENGINE, ""))


@cache
def _engine(name: str) -> Engine:
    if not name:
        return ThisProcess()
    try:
        from errata.editing.ray_engine import RayEngine  # noqa: PLC0415 - an extra, and slow
    except ImportError as error:
        raise NotInstalled(f"{ENGINE}={name} needs Ray; `pip install 'errata-models[scale]'` brings it") from error
    return RayEngine(None if name == "ray" else name)
