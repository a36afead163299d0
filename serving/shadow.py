"""A candidate asked beside the live release: where it would answer otherwise is logged and counted, and never answered.

    with Follower(storage) as follower, Shadow(storage, follower) as shadow:
        predictions = follower.predict(images)          # of the live release, as ever
        shadow.compare(images, predictions)             # returns at once

The candidate is loaded and asked on a thread of its own, after the answer was made. What finds no room among those that
wait is skipped, and whatever the candidate does wrong is counted against it: the live release notices neither.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.releases.candidate import Candidate, ShadowCounts, put_counts, read_candidate
from errata.data.releases.manifest import Live
from errata.data.storage.base import Storage
from errata.serving.background import Background
from errata.serving.follower import Follower, Loader
from errata.serving.release import Prediction, Release, load_release

WAITING = 64  # requests that wait for the candidate; the next one is skipped
RETRY = 60.0  # seconds until a candidate that did not load is tried again
log = logging.getLogger(__name__)
Outcome = Literal["same", "changed", "failed", "skipped"]
Asked = tuple[NDArray[np.uint8], tuple[Prediction, ...]]


class Shadow(Background):
    """Asks the candidate that the store names, while it is one of the release that `follower` serves."""

    def __init__(
        self,
        storage: Storage,
        follower: Follower,
        *,
        load: Loader = load_release,
        every: float = 5.0,
        keep_every: float = 300.0,
    ) -> None:
        """`every`: seconds between two looks at candidate.json; `keep_every`: between two writings of what was seen,
        each of which is one small object in the store."""
        super().__init__("errata-shadow")
        self._storage, self._follower, self._load = storage, follower, load
        self._every, self._keep_every = every, keep_every
        self._candidate: Release | None = None
        self._against = (0, "")  # version and digest of the release that it is compared with
        self._seen: Counter[Outcome] = Counter()
        self._unkept: Counter[Outcome] = Counter()  # of this candidate, what is not in the store yet
        self._counting = threading.Lock()
        self._problem = ""
        self._refused, self._retry_at = "", 0.0
        self._kept_at = time.monotonic()
        self._run = secrets.token_hex(4)
        self._written = 0
        self._asked: queue.Queue[Asked] = queue.Queue(WAITING)

    @property
    def version(self) -> int | None:
        """The version that the candidate would have; None while there is none."""
        candidate = self._candidate
        return candidate.version if candidate else None

    @property
    def seen(self) -> Mapping[Outcome, int]:
        """How many images since the start, of all candidates, were answered the same, would have been answered with
        another class, failed, and were skipped."""
        return self._seen

    @property
    def problem(self) -> str:
        """Why there is no candidate though there should be; empty if all is well."""
        return self._problem

    def compare(self, images: NDArray[np.uint8], predictions: Sequence[Prediction]) -> None:
        """Ask the candidate about uint8 `[n, height, width, channels]` that were predicted; returns at once, and raises
        nothing."""
        if self._candidate is None:
            return
        try:
            self._asked.put_nowait((images, tuple(predictions)))
        except queue.Full:
            self._count("skipped", len(predictions))

    def look(self) -> None:
        """Look at candidate.json now. Raises nothing: a candidate that cannot be had is none."""
        try:
            self._follow()
        except Exception as fault:  # whatever a candidate does, it must not be felt
            if str(fault) != self._problem:
                log.warning("the candidate is not asked: %s", fault)
            self._problem = str(fault)

    def _follow(self) -> None:
        live, found = self._follower.state, read_candidate(self._storage)
        against = (live.version or 0, live.digest)
        if found is None or not found.waits(live.digest, live.newest):
            self._forget()
            self._problem = ""
            return
        if self._candidate and (self._candidate.digest, self._against) == (found.manifest_sha256, against):
            self._problem = ""
            return
        if found.manifest_sha256 == self._refused and time.monotonic() < self._retry_at:
            return
        self._forget()
        self._refused, self._retry_at = found.manifest_sha256, time.monotonic() + RETRY
        candidate = self._load(self._storage, _as_pointer(found))
        self._candidate, self._against = candidate, against
        self._refused = self._problem = ""
        log.info("candidate %d (%s) is asked beside release %d", candidate.version, candidate.digest[:12], against[0])

    def _forget(self) -> None:
        self.keep()
        self._candidate = None
        self._unkept.clear()

    def ask(self, images: NDArray[np.uint8], predictions: tuple[Prediction, ...]) -> None:
        """Ask the candidate now, and count what it says. Raises nothing."""
        candidate = self._candidate
        if candidate is None or any(each.version != self._against[0] for each in predictions):
            return
        try:
            told = candidate.predict(images)
        except Exception as fault:
            self._count("failed", len(predictions))
            log.warning("candidate %d fails where release %d answers: %s", candidate.version, self._against[0], fault)
            return
        for image, now, then in zip(images, predictions, told, strict=True):
            if now.predicted == then.predicted:
                self._count("same")
                continue
            self._count("changed")
            why = then.correction or then.kind or "the weights"
            words = (pixel_digest(image)[:12], now.version, now.predicted, then.version, then.predicted, why)
            log.info("image %s: release %d says %r, candidate %d would say %r, by %s", *words)

    def _count(self, outcome: Outcome, images: int = 1) -> None:
        with self._counting:
            self._seen[outcome] += images
            self._unkept[outcome] += images

    def keep(self) -> None:
        """Write what was seen since the last time into the store, for the gate. What cannot be written waits."""
        candidate, self._kept_at = self._candidate, time.monotonic()
        with self._counting:
            new = self._unkept.copy()
        requests = new["same"] + new["changed"] + new["failed"]
        if candidate is None or not requests:
            return
        counts = ShadowCounts(candidate.digest, self._against[1], requests, new["changed"], new["failed"])
        try:
            key = layout.shadow_counts(candidate.digest, datetime.now(UTC), f"{self._run}-{self._written}")
            put_counts(self._storage, key, counts)
        except Exception as fault:
            log.warning("what was seen of the candidate cannot be written: %s", fault)
            return
        self._written += 1
        with self._counting:
            self._unkept.subtract(new)

    def _begin(self) -> None:
        self.look()

    def stop(self) -> None:
        """End the thread and write what was seen."""
        super().stop()
        self.keep()

    def _work(self) -> None:
        look_at = time.monotonic() + self._every
        while not self._stopping.is_set():
            with suppress(queue.Empty):
                self.ask(*self._asked.get(timeout=max(0.01, min(0.5, look_at - time.monotonic()))))
            if time.monotonic() >= look_at:
                self.look()
                look_at = time.monotonic() + self._every
            if time.monotonic() >= self._kept_at + self._keep_every:
                self.keep()


def _as_pointer(candidate: Candidate) -> Live:
    """What live.json would say of it, for whoever loads releases."""
    return Live(candidate.version, candidate.manifest_sha256, None, serial=1, newest=candidate.version)
