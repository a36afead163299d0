"""Follows the store's live.json: verifies and loads what it names, and swaps it in between two requests.

    follower = Follower(open_storage("store"))
    with follower:                              # a thread looks at live.json every few seconds
        follower.predict(images)                # whole on one release, whatever happens meanwhile

A release that does not verify or load is never served, nor is one that an older live.json names (`serving.seen`): the
last good one stays, and `state.problem` says why. So it is with a live.json that has expired: nothing is swapped in by
it, and no process starts on it. With `keep=FOLDER` the last good release is kept there for a process that starts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from errata.data import layout
from errata.data.releases.manifest import Live, read_live
from errata.data.storage.base import Storage
from errata.editing.errors import ErrataError, NothingServed
from errata.serving.background import Background
from errata.serving.kept import Kept
from errata.serving.release import Prediction, Release, load_release
from errata.serving.seen import Seen

LONGEST_PAUSE = 60.0
Loader = Callable[[Storage, Live], Release]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What a follower is at: the version it serves (None: nothing yet) and its digest, the version that live.json
    names, why that is not the one served (empty if it is), and the newest version that ever was live (0: unknown)."""

    version: int | None
    digest: str
    wanted: int | None
    problem: str
    newest: int


class Follower(Background):
    """Serves the live release of a store, once started. Any number of threads may predict while it swaps; what is
    loaded stays usable when it is stopped."""

    def __init__(
        self,
        storage: Storage,
        *,
        load: Loader = load_release,
        every: float = 5.0,
        keep: Path | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Nothing is read before `refresh` or `start`. `every`: seconds between two looks at live.json; a release that
        was refused is tried again after twice that, then four times, up to a minute, for its bytes may come back.
        `keep`: a folder for a copy of the last good release, for the next start (`serving.kept`). `now`: the clock by
        which live.json expires."""
        super().__init__("errata-follower")
        self._storage = storage
        self._kept = Kept(keep, storage.url) if keep else None
        self._seen = Seen(self._kept.storage if self._kept else None)
        self._load = load
        self._every = every
        self._now = now
        self._release: Release | None = None
        self._wanted: Live | None = None
        self._problem = "nothing was loaded yet"
        self._refused = ""  # the digest of a release that did not verify or load
        self._retry_at = 0.0
        self._pause = every
        self._refreshing = threading.Lock()

    @property
    def release(self) -> Release:
        """The release now served: take it once for a request, and everything in the answer is of that release.

        Raises NothingServed before the first good one.
        """
        release = self._release
        if release is None:
            raise NothingServed(f"no release of {self._storage.url} could be loaded yet: {self._problem}")
        return release

    @property
    def state(self) -> State:
        """What it serves, what it should serve, and why these differ if they do."""
        release, wanted = self._release, self._wanted
        return State(
            version=release.version if release else None,
            digest=release.digest if release else "",
            wanted=wanted.version if wanted else None,
            problem=self._problem,
            newest=wanted.newest if wanted else 0,
        )

    def predict(self, images: NDArray[np.uint8]) -> tuple[Prediction, ...]:
        """A prediction for each of uint8 `[n, height, width, channels]`, all of one release."""
        return self.release.predict(images)

    def refresh(self) -> bool:
        """Look at live.json now and swap if it names another release; says whether it swapped.

        Never raises ErrataError: a release that cannot be had is a state, and the last good one goes on.
        """
        with self._refreshing:
            self._retry_at = 0.0
            return self._look()

    def _look(self) -> bool:
        try:
            return self._follow()
        except ErrataError as fault:
            if self._release is None:
                self._fall_back()
            if str(fault) != self._problem:
                kept = f"release {self._release.version} goes on" if self._release else "nothing is served"
                log.warning("%s; %s", fault, kept)
            self._problem = str(fault)
            return False

    def _follow(self) -> bool:
        found = read_live(self._storage)
        if found is None:
            raise NothingServed(f"nothing is released yet in {self._storage.url}; run `errata train`")
        live = found[0]
        self._seen.admit(live)
        self._wanted = live
        live.check_fresh(self._now(), f"{self._storage.url}/{layout.LIVE}")
        old = self._release
        if old is not None and old.digest == live.manifest_sha256:
            self._refused, self._problem = "", ""
            return False
        if live.manifest_sha256 == self._refused and time.monotonic() < self._retry_at:
            return False
        if live.manifest_sha256 != self._refused:
            self._pause = self._every
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._refused, self._retry_at = live.manifest_sha256, time.monotonic() + self._pause
        new = self._load(self._storage, live)
        self._release = new  # one reference: a request sees the old release or the new one, whole
        self._refused, self._problem = "", ""
        log.info("serving release %d (%s) instead of %s", new.version, new.digest[:12], old.version if old else "none")
        self._keep(live)
        return True

    def _keep(self, live: Live) -> None:
        """Keep a copy of the release now served; without one everything works but a start beside a damaged store."""
        if self._kept is None:
            return
        try:
            self._kept.keep(self._storage, live)
        except (ErrataError, OSError) as fault:
            log.warning("release %d is served, but no copy of it is kept for the next start: %s", live.version, fault)

    def _fall_back(self) -> None:
        """Serve what was kept by an earlier process, if it verifies and loads."""
        try:
            live = self._kept.live() if self._kept else None
            if self._kept and live:
                self._release = self._load(self._kept.storage, live)
                log.warning("release %d is served from the copy in %s", live.version, self._kept.storage.url)
        except (ErrataError, OSError) as fault:
            log.warning("the copy of the last good release cannot be served either: %s", fault)

    def _begin(self) -> None:
        self.refresh()

    def _work(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                with self._refreshing:
                    self._look()
            except Exception:  # a follower that dies in silence would serve one release for ever
                self._problem = "an unexpected fault; the log has it"
                log.exception("following live.json failed")
