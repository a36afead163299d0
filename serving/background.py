"""Work on a thread of its own, from `start` to `stop`, beside the requests."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Background(ABC):
    """Starts and stops one thread; as a context it runs inside. It does what `_begin` and `_work` say."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def _begin(self) -> None:
        """What is done before `start` returns."""

    @abstractmethod
    def _work(self) -> None:
        """Runs on the thread, until `_stopping` is set."""

    def start(self) -> None:
        """Begin, then work on a thread until `stop`; starting twice is harmless."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._begin()
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and wait until it has ended; stopping twice is harmless."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()
