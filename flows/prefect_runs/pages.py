"""The pages that a run's artifacts link to, served on this machine: a browser follows no link to a file from Prefect's.

GET /releases/4         the release's report with its pictures, as `errata page 4` makes it
GET /data_docs/...      what the last nights' reports looked like, together

python -m errata.flows.prefect_runs.pages PORT
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from mimetypes import guess_type
from pathlib import Path

from errata.editing.errors import ErrataError
from errata.flows.releases.page import release_page
from errata.flows.workspace import open_store, open_workspace

_RELEASE = re.compile(r"/releases/([0-9]{1,9})")
_DOCS = "/data_docs/"
_HERE = ("127.0.0.1", "localhost")  # by which names it may be asked: of another's site that leads here, by none


def find_page(path: str, report: Callable[[int], bytes], docs: Path) -> tuple[str, bytes] | None:
    """The type and content of what lies at `path`; None if nothing does. `docs` is the folder of Data Docs."""
    if release := _RELEASE.fullmatch(path):
        try:
            return "text/html; charset=utf-8", report(int(release[1]))
        except ErrataError:
            return None
    file = (docs / path.removeprefix(_DOCS)).resolve()
    if path.startswith(_DOCS) and file.is_relative_to(docs.resolve()) and file.is_file():
        return guess_type(file.name)[0] or "application/octet-stream", file.read_bytes()
    return None


def pages_server(port: int, report: Callable[[int], bytes], docs: Path) -> ThreadingHTTPServer:
    """The server, on the loopback address alone; port 0 is any that is free."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = self.headers.get("Host", "").rpartition(":")[0] in _HERE
            found = find_page(self.path.partition("?")[0], report, docs) if here else None
            kind, content = found or ("text/plain", b"there is no such page\n")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_said: object) -> None:
            """Nothing: the run's log is elsewhere."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    place = open_workspace()
    pages_server(
        int(sys.argv[1]), lambda version: release_page(open_store(), version, place), place.data_docs
    ).serve_forever()
