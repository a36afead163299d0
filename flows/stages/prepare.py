"""The stage `prepare`: the data set split into disjoint parts, looked at as tables, recorded by digest."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, TypeAdapter
from pydantic.dataclasses import dataclass

from errata.data import layout
from errata.data.datasets import LabelledImages, load_dataset, source_digest
from errata.data.expectations.observations import Outcome, partition
from errata.data.image_files import SOURCES
from errata.data.records import STRICT, Sha256, canonical_json, parse_record
from errata.data.splits import read_split, record_splits, refreshed, split_rows, write_split
from errata.editing.errors import DataError
from errata.flows.params import Params
from errata.flows.stages.progress import open_teller
from errata.flows.workspace import Workspace

SOURCE = "source.json"  # beside the splits: what they were made of


@dataclass(frozen=True, config=STRICT)
class Source:
    """What was split: data.root, and the digest of all that lay there."""

    root: str
    sha256: Sha256
    format: Literal["errata-source/1"] = "errata-source/1"


_SOURCE = TypeAdapter(Source)
REQUIRED = ("train", "reference", "calibration", "gate", "test")


def prepare(workspace: Workspace, params: Params) -> None:
    """Split the data set into disjoint parts.

    Raises DataError, with nothing written but Data Docs, if a required split is missing or empty, or if one breaks an
    expectation of severity `critical`. What breaks one of severity `warning` is printed.
    """
    made = workspace.splits.with_name("splits.new")
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
    made.mkdir(parents=True)
    try:
        make_splits_in(made, workspace, params)
        workspace.splits.mkdir(exist_ok=True)
        for path in made.iterdir():
            path.replace(workspace.splits / path.name)
    finally:
        shutil.rmtree(made)


def make_splits_in(folder: Path, workspace: Workspace, params: Params) -> None:
    """Write the splits into `folder`, where the images of the data set lie as well until they are split."""
    dataset = load_dataset(
        params.data.dataset,
        Path(params.data.root) if params.data.root else None,
        image_shape=params.data.image_shape,
        columns=params.data.columns,
        folder=folder,
        tell=partial(open_teller(workspace, "prepare").tell, "images read", total=0),
    )
    if params.data.classes:
        dataset = dataset.ordered(params.data.classes)
    sizes = {name: size for name, size in params.data.splits if size != 0}
    rows = split_rows(dataset, sizes, params.seed)
    entries = {name: write_split(dataset, folder / f"{name}.npz", rows[name]) for name in rows}
    before = {name: read_split(folder / f"{name}.npz", entry.sha256) for name, entry in entries.items()}
    splits = refreshed(before, [load_gate(workspace, each) for each in params.data.gates], folder)
    for name, outcomes in check_splits(workspace, splits).items():
        for outcome in outcomes:
            if outcome.severity == "warning" and not outcome.holds:
                print(f"warning: split {name} breaks the rule {outcome.sentence}", flush=True)
    for name in ("gate", "retired") if params.data.gates else ():
        entries[name] = write_split(splits[name], folder / f"{name}.npz")
    record_splits(entries, folder)
    if digest := _source_digest(params, workspace):
        (folder / SOURCE).write_bytes(canonical_json(Source(params.data.root, digest)))


def check_source(workspace: Workspace) -> None:
    """Raises DataError if the images under data.root are not those that were split: DVC does not look at them.

    They need not be here: a root can be trained from the splits alone.
    """
    path, data = workspace.splits / SOURCE, workspace.params.data
    if not path.exists() or not (workspace.folder / data.root).exists():
        return
    source = parse_record(_SOURCE, path.read_bytes(), str(path), "run `dvc repro --force prepare`")
    if source.root == data.root and source.sha256 != _source_digest(workspace.params, workspace):
        raise DataError(
            f"the images of {data.root} are not those that were split: some are new, gone, or others. "
            "`dvc repro --force prepare` splits them anew, with another gate split; or put them back as they were"
        )


def _source_digest(params: Params, workspace: Workspace) -> str | None:
    """The digest of the images that are split; None for a data set that nobody changes."""
    if params.data.dataset not in SOURCES:
        return None
    return source_digest(params.data.dataset, workspace.folder / params.data.root, params.data.columns)


def load_gate(workspace: Workspace, digest: str) -> LabelledImages:
    """The gate split that was added under this digest; raises DataError if it is gone, Damaged if it is another."""
    path = workspace.gates / f"{digest}.npz"
    try:
        return read_split(path, digest)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; the store has it under {layout.gate_images(digest)}") from error


def check_splits(workspace: Workspace, splits: Mapping[str, LabelledImages]) -> dict[str, tuple[Outcome, ...]]:
    """What was observed of each split that holds images, against the operator's expectations and all splits together.

    The mean of n images strays from that of all by chance: `brightness_low` and `_high` are five standard errors away.
    """
    for name in REQUIRED:
        if name not in splits or not len(splits[name]):
            raise DataError(f"the split {name} holds no images; give it some in params.yaml: data.splits.{name}")
    import pandas as pd  # noqa: PLC0415 - slow

    from errata.data.expectations.suites import check_table, load_suite  # noqa: PLC0415 - takes seconds
    from errata.data.expectations.tables import split_tables  # noqa: PLC0415

    classes = splits["train"].classes
    tables = {name: table for name, table in split_tables(splits).items() if len(table)}
    together = pd.concat(tables.values())
    mean, deviation = float(together["brightness"].mean()), float(together["brightness"].std())
    outcomes = {}
    for name, table in tables.items():
        room = 5 * deviation / len(table) ** 0.5
        values: dict[str, JsonValue] = {
            "classes": list(classes),
            "class_shares": partition(Counter(together["label"]), classes),
            "brightness_low": mean - room,
            "brightness_high": mean + room,
        }
        suite = load_suite("split", workspace.expectations, values, tuple(table.columns))
        checked = check_table(table, suite, workspace.data_docs, "prepare", name)
        for row, broken in checked.refused.items():
            raise DataError(f"image {row} of split {name} breaks the rule {'; '.join(broken)} ({suite.path})")
        outcomes[name] = checked.outcomes
    return outcomes
