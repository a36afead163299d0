"""Bulk reports go through intake in linear time and flat memory, here or on Ray.

    python -m benchmarks.intake --nights 100000 100000 100000        each night a batch of so many reports
    python -m benchmarks.intake --nights 100000 --workers 1 2        on Ray with so many processors (`make scale`)

Each night a Parquet batch of reports with their images in it (32 x 32 PNG of noise, 3 kB) comes to a fresh folder
store; every hundredth report is bad: its image torn, its class unknown or missing, or no image there (malformed rows
near each other are refused together). Measured are the filing of the batch as single reports and images
(`data.inbox.batches`: two synchronised writes for each), and their reading (`data.inbox.intake`: fetched, held against
digests, parsed, decoded, fitted): wall seconds, processor seconds of this process and of what it started and ended
(which other work on the machine moves less), and the most memory that this process had until then, the making of the
batch included. What the workers of Ray use is not in the processor seconds, and Ray's start is in neither.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.report import environment, markdown
from errata.data import layout
from errata.data.images import encode_png
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.inbox.batches import file_singly
from errata.data.inbox.intake import Accepted, read_inbox
from errata.data.storage import open_storage
from errata.editing.engine import Engine, ThisProcess

CLASSES = ("cat", "dog")
SHAPE = (32, 32, 3)
BAD_EVERY = 100
TABLE = (
    "engine",
    "night",
    "reports",
    "accepted",
    "refused",
    "file, s",
    "read, s",
    "reports/s",
    "CPU ms each",
    "peak, MiB",
)


def write_batch(path: Path, reports: int, seed: int) -> None:
    """A Parquet table of `reports` rows, the images in it, written some rows at a time."""
    import pyarrow as arrow  # noqa: PLC0415 - an extra
    from pyarrow.parquet import ParquetWriter  # noqa: PLC0415

    rng, when = np.random.default_rng(seed), datetime(2026, 1, 1, tzinfo=UTC)
    fields = [("image", arrow.binary()), ("expected", arrow.string()), ("reporter", arrow.string())]
    schema = arrow.schema([*fields, ("filed_at", arrow.timestamp("us", tz="UTC"))])
    path.parent.mkdir(parents=True, exist_ok=True)
    with ParquetWriter(path, schema) as writer:
        for start in range(0, reports, 1000):
            rows = []
            for number in range(start, min(start + 1000, reports)):
                content: bytes | None = encode_png(rng.integers(0, 256, SHAPE, dtype=np.uint8))
                expected: str | None = "cat"
                if number % BAD_EVERY == 0:
                    kind = number // BAD_EVERY % 4
                    content = content[:1000] if kind == 0 and content else None if kind == 1 else content
                    expected = {2: "horse", 3: None}.get(kind, "cat")
                reporter = f"person {number % 997}"
                rows.append({"image": content, "expected": expected, "reporter": reporter, "filed_at": when})
            writer.write_table(arrow.Table.from_pylist(rows, schema))


@contextmanager
def engine_of(workers: int) -> Iterator[Engine]:
    """This process for 0 workers, else Ray with so many processors."""
    if not workers:
        yield ThisProcess()
        return
    import ray  # noqa: PLC0415 - an extra

    from errata.editing.ray_engine import RayEngine  # noqa: PLC0415

    ray.init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield RayEngine()
    ray.shutdown()


def cpu_seconds() -> float:
    """What this process and its children that have ended used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def night(folder: Path, engine: Engine, name: str, number: int, reports: int) -> list[str]:
    """One night's row of the table; the store is fresh, and gone afterwards."""
    write_batch(folder / layout.INBOX / "batch.parquet", reports, seed=number)
    os.sync()
    storage, limits = open_storage(folder), BatchLimits(lines_a_night=reports, max_lines=reports)
    start, cpu = time.perf_counter(), cpu_seconds()
    refused = sum(1 for _ in file_singly(storage, limits))
    filed = time.perf_counter()
    accepted = 0
    for item in read_inbox(storage, CLASSES, SHAPE, engine=engine):
        accepted += isinstance(item, Accepted)
        refused += not isinstance(item, Accepted)
    end, cpu = time.perf_counter(), cpu_seconds() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shutil.rmtree(folder)
    each = [
        f"{filed - start:.1f}",
        f"{end - filed:.1f}",
        f"{reports / (end - start):.0f}",
        f"{1000 * cpu / reports:.2f}",
    ]
    return [name, str(number), f"{reports:,}", f"{accepted:,}", f"{refused:,}", *each, f"{peak:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, nargs="+", default=[10_000, 10_000, 10_000], help="reports of each night")
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="0: this process; else processors of Ray")
    parser.add_argument("--rows", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rows:
        [workers] = arguments.workers
        name = f"Ray, {workers} workers" if workers else "this process"
        with tempfile.TemporaryDirectory(prefix="errata-intake-") as folder, engine_of(workers) as engine:
            for number, reports in enumerate(arguments.nights, start=1):
                print("\t".join(night(Path(folder) / "store", engine, name, number, reports)), flush=True)
        return
    rows = []
    for workers in arguments.workers:  # each in a fresh process, so that its memory is its own
        command = [sys.executable, "-m", "benchmarks.intake", "--rows", "--workers", str(workers), "--nights"]
        done = subprocess.run([*command, *map(str, arguments.nights)], stdout=subprocess.PIPE, text=True, check=True)
        rows += [line.split("\t") for line in done.stdout.splitlines()]
    print(markdown(TABLE, rows) + "\n" + environment("cpu"))


if __name__ == "__main__":
    main()
