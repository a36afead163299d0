"""The inbox is collected in linear time and flat memory, however many reports wait.

    python -m benchmarks.intake                    1,000, 10,000 and 100,000 reports
    python -m benchmarks.intake 1000 2000          other sizes

Each size is a fresh folder store of reports with an image each (32 x 32 PNG of noise, 3 kB, every tenth one truncated),
read by a fresh process: the time of `data.inbox.intake.read_inbox` from end to end, every image decoded, and how much
the process's peak memory grew over what it had before the first report.

One run (2 cores that other work shared, load above 10; Python 3.11, Pillow 13.0; local store on a virtual disk):

     reports  seconds  ms each  memory grown
       1,000      1.0     1.01         0 MiB
      10,000      8.5     0.85         0 MiB
     100,000     90.0     0.90        13 MiB

The 13 MiB are the names of the inbox, 130 bytes each: the local store sorts one folder's names in memory. S3 pages.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.intake import Accepted, read_inbox
from errata.data.reports import make_report
from errata.data.storage import open_storage

CLASSES = ("cat", "dog")
SHAPE = (32, 32, 3)


def fill(folder: Path, reports: int) -> None:
    """A store's inbox as the local store lays it out, written without its care for power cuts, which takes long."""
    (folder / layout.INBOX).mkdir(parents=True)
    (folder / layout.IMAGES).mkdir()
    rng = np.random.default_rng(0)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(reports):
        content = encode_png(rng.integers(0, 256, SHAPE, dtype=np.uint8))
        content = content[:1000] if number % 10 == 0 else content
        report = make_report(content, "cat", reporter=f"person {number % 997}", filed_at=when)
        (folder / layout.image(hashlib.sha256(content).hexdigest())).write_bytes(content)
        (folder / layout.inbox_report(report.id)).write_bytes(report.to_json())


def peak_mebibytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: Path) -> str:
    """One reading of the inbox: accepted, refused, seconds, mebibytes."""
    storage = open_storage(folder)
    before, start = peak_mebibytes(), time.perf_counter()
    accepted = refused = 0
    for item in read_inbox(storage, CLASSES, SHAPE):
        if isinstance(item, Accepted):
            accepted += 1
        else:
            refused += 1
    return f"{accepted} {refused} {time.perf_counter() - start:.2f} {peak_mebibytes() - before:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(arguments.measure))
        return
    print(f"{'reports':>8} {'accepted':>8} {'refused':>8} {'seconds':>8} {'ms each':>8} {'memory grown, MiB':>18}")
    for reports in arguments.reports:
        with tempfile.TemporaryDirectory(prefix="errata-intake-") as folder:
            fill(Path(folder), reports)
            os.sync()
            command = [sys.executable, "-m", "benchmarks.intake", "--measure", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            accepted, refused, seconds, grown = (float(word) for word in done.stdout.split())
            each = 1000 * seconds / reports
            print(f"{reports:8} {accepted:8.0f} {refused:8.0f} {seconds:8.1f} {each:8.2f} {grown:18.1f}", flush=True)


if __name__ == "__main__":
    main()
