"""Takes request bodies into memory and work onto threads, no more of either than the settings allow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.exceptions import HTTPException

from errata.editing.errors import DataError, TooLarge
from errata.serving.settings import Settings

Result = TypeVar("Result")


class Bodies:
    """Those that arrive, in the order in which they began, and those that are worked on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._arriving: dict[asyncio.Timeout, None] = {}
        self._working = 0
        self._threads: CapacityLimiter | None = None

    async def handle(self, request: Request, job: Callable[[bytes], Result]) -> Result:
        """`job` of the request's body, on a worker thread. Raises HTTPException (408, 503), DataError, TooLarge."""
        content = await self._arrive(request)
        return await self.work(partial(job, content))

    async def work(self, job: Callable[[], Result]) -> Result:
        """`job` on a worker thread. Raises HTTPException (503), and what it raises."""
        if self._working >= self._settings.in_progress:
            raise HTTPException(503, f"{self._working} requests are in progress; try again")
        self._threads = self._threads or CapacityLimiter(self._settings.workers)  # needs the running event loop
        self._working += 1
        try:
            return await to_thread.run_sync(job, limiter=self._threads)
        finally:
            self._working -= 1

    async def _arrive(self, request: Request) -> bytes:
        """The body, if it is whole in time and not the slowest where too many arrive: an honest one takes no time."""
        if len(self._arriving) >= self._settings.in_progress:
            self._end_the_oldest()
        try:
            async with asyncio.timeout(self._settings.body_seconds) as deadline:
                self._arriving[deadline] = None
                try:
                    return await self._read(request)
                finally:
                    self._arriving.pop(deadline, None)
        except TimeoutError:
            limit = f"{self._settings.body_seconds:g} seconds, or less where many wait"
            raise HTTPException(408, f"the body did not arrive within {limit}") from None

    def _end_the_oldest(self) -> None:
        oldest = next(iter(self._arriving))
        del self._arriving[oldest]
        if not oldest.expired():
            oldest.reschedule(0)

    async def _read(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not taken; send it as it is")
        limit = self._settings.image.max_bytes
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > limit:
                raise TooLarge(f"the body has more than {limit:,} bytes; send a smaller image, or fewer")
        if not content:
            raise DataError("the body is empty; send an image file, or a request, as the body")
        return bytes(content)
