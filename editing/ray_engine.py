"""The engine on a Ray cluster: items become tasks, and a task whose machine went away runs again on another."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError

from errata.editing.errors import StoreUnusable

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # items that wait for each processor, so that none is ever without
_known: tuple[str, Any] = ("", None)  # of this worker: the function that it was last asked for


class RayEngine:
    """Joins the cluster at `address`; without one that of RAY_ADDRESS or of this machine, else it makes one here.

    Every machine needs the same installation of Errata. Raises StoreUnusable if there is no cluster at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if not ray.is_initialized():
            try:
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except ConnectionError as error:
                raise StoreUnusable(f"{address}: no Ray cluster answers; start it, or mend the address") from error

    def map(self, function: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        """As `Engine` says; the function travels once to each worker."""
        travelling = [ray.put(function)]  # within a list it is not unpacked for every task anew
        task = ray.remote(num_cpus=1, max_retries=-1)(_call)
        most = _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(task.remote(travelling, item))
            if len(waiting) >= most:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())


def _call(travelling: list[Any], item: Any) -> Any:
    global _known  # noqa: PLW0603 - a worker is a process that lives for many tasks
    [reference] = travelling
    if _known[0] != reference.hex():
        _known = (reference.hex(), ray.get(reference))
    return _known[1](item)


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error
