"""`python -m errata.serving --store STORE`: the reference service over a store, in uvicorn."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from errata.data.connections import server
from errata.data.images import ImageLimits
from errata.data.storage import open_storage
from errata.editing.errors import ErrataError
from errata.serving.follower import Follower
from errata.serving.service import create_app
from errata.serving.settings import Settings
from errata.serving.shadow import Shadow
from errata.serving.tokens import Tokens
from errata.serving.tracing import traced

SECRET = "ERRATA_SERVING_SECRET"


def cache() -> Path | None:
    """Where a user's caches are; None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "errata"
    except RuntimeError:
        return None


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    default = Settings()
    options = argparse.ArgumentParser(prog="python -m errata.serving", description=__doc__)
    options.add_argument("--store", required=True, help="a folder, or s3://bucket/prefix")
    options.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    options.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
    options.add_argument("--every", type=float, default=5.0, help="seconds between two looks at live.json")
    options.add_argument("--max-bytes", type=int, default=default.image.max_bytes, help="of an image file")
    options.add_argument("--max-pixels", type=int, default=default.image.max_pixels, help="of an image")
    options.add_argument("--connections", type=int, default=default.connections, help="open at once")
    options.add_argument(
        "--per-client",
        type=int,
        default=default.per_client,
        help="connections of one address; 0 behind a gateway, whose address they all have (default: %(default)s)",
    )
    options.add_argument("--workers", type=int, default=default.workers, help="images predicted at once")
    options.add_argument(
        "--cache", type=Path, default=cache(), help="folder for a copy of the last good release (default: %(default)s)"
    )
    options.add_argument("--no-cache", action="store_true", help="keep no copy: nothing is written to this machine")
    options.add_argument("--no-reports", action="store_true", help="offer no /report: the store is only read")
    options.add_argument(
        "--shadow", action="store_true", help="ask a candidate that waits, beside what is live, and count what it says"
    )
    options.epilog = f"{SECRET} in the environment lets several services accept each other's predictions in /report."
    return options


def main(arguments: list[str]) -> int:
    """Serve until told to stop."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings(
        image=ImageLimits(given.max_bytes, given.max_pixels),
        connections=given.connections,
        per_client=given.per_client,
        workers=given.workers,
        reports=not given.no_reports,
    )
    secret = os.environ.get(SECRET, "").encode()
    try:
        storage = open_storage(given.store)
        follower = Follower(storage, every=given.every, keep=None if given.no_cache else given.cache)
        shadow = Shadow(storage, follower, every=given.every) if given.shadow else None
        app = create_app(storage, follower, settings, Tokens(secret or None), shadow)
    except ErrataError as fault:
        print(f"Error: {fault}", file=sys.stderr)
        return fault.exit_code
    service = server(app, settings, host=given.host, port=given.port, closed=app.state.metrics.closed)
    try:
        with suppress(KeyboardInterrupt), traced(app):
            service.run()
    except ErrataError as fault:
        print(f"Error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0 if service.started else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
