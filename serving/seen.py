"""The newest pointer that this client ever took, and the rule that it never goes back (The Update Framework, 5.3).

Whoever may write to the store can put an older live.json back, signed as it once was. So the newest one that was taken
is remembered, beside the kept release as well, so that a restart forgets nothing. After a store was restored from an
older copy, delete that folder and start again.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from errata.data.releases.manifest import Live
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NotStored, StoreError, Superseded

SEEN = "seen.json"
log = logging.getLogger(__name__)


class Seen:
    """Remembers in memory, and in `folder` if there is one, which several processes may share."""

    def __init__(self, folder: Storage | None = None) -> None:
        self._folder = folder
        self._newest: Live | None = None

    def admit(self, live: Live) -> None:
        """Take note of the pointer that the store now has; raises Damaged if it goes back behind one seen before."""
        seen = self._remember(self._newest)
        if seen is not None:
            self._compare(live, seen)
        self._newest = self._remember(live)

    def _compare(self, live: Live, seen: Live) -> None:
        forget = f"; if the store was restored from a copy, delete {self._folder.url}" if self._folder else ""
        where = f"live.json is change {live.serial} of the store (release {live.version})"
        if live.serial < seen.serial:
            raise Damaged(f"{where}, but change {seen.serial} was seen before: an old one was put back{forget}")
        if live.serial == seen.serial and live.change != seen.change:
            raise Damaged(f"{where}, but says otherwise than when it was seen before{forget}")
        # a retraction keeps the version, so after a rollback that was not seen it may name an older one as well
        if live.version < seen.version and live.action == "released":
            raise Damaged(f"{where}, older than release {seen.version}, and is no rollback{forget}")

    def _remember(self, live: Live | None) -> Live | None:
        """The newest of `live` and what the folder holds, which then holds it as well."""
        if self._folder is None:
            return live
        try:
            while True:
                tag, known = None, None
                with suppress(NotStored):
                    pointer = self._folder.read(SEEN)
                    tag, known = pointer.tag, Live.from_json(pointer.content)
                if live is None or (known is not None and known.serial >= live.serial):
                    return known
                with suppress(Superseded):  # by another process that shares the folder
                    self._folder.swap(SEEN, live.to_json(), expected=tag)
                    return live
        except (StoreError, OSError) as fault:
            log.warning("what was seen is not remembered for the next start: %s", fault)
            return live
