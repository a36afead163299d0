"""The night's reports and the control set's splits as tables, a row for each report or image.

pandas takes its time to be imported: import this file where a table is made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from errata.data.belief.names import same_reporter
from errata.data.datasets import LabelledImages
from errata.data.images import pixel_digest
from errata.data.reports import Report

_BLOCK = 1024  # images whose means are taken at once


@dataclass(frozen=True)
class ReportRow:
    """A report that can be used. `correction`: its image's identity; `width`, `height`: of the image as it was sent."""

    report: Report
    correction: str
    width: int
    height: int


def report_table(rows: Sequence[ReportRow], now: datetime) -> pd.DataFrame:
    """One row for each report. `predicted` and `model_version` may be null, nothing else is.

    `reporter_share` and `expected_share` are the shares of all rows that have this row's reporter, or expected class.
    """
    reports = [row.report for row in rows]
    table = pd.DataFrame(
        {
            "report": [report.id for report in reports],
            "image": [report.image for report in reports],
            "correction": [row.correction for row in rows],
            "expected": [report.expected for report in reports],
            "predicted": [report.predicted for report in reports],
            "reporter": [same_reporter(report.reporter) for report in reports],
            "model_version": pd.array([report.model_version for report in reports], dtype="Int64"),
            "age_days": [(now - report.filed_at).total_seconds() / 86_400 for report in reports],
            "width": [row.width for row in rows],
            "height": [row.height for row in rows],
        }
    )
    for column in ("reporter", "expected"):
        table[f"{column}_share"] = table[column].map(table[column].value_counts(normalize=True)).astype(float)
    return table


def split_tables(splits: Mapping[str, LabelledImages]) -> dict[str, pd.DataFrame]:
    """For each split a table with a row for each image.

    `image` is the pixel digest, `other_splits` in how many others it lies; `mean_<c>` is the mean of channel c and
    `brightness` that of all channels, 0 to 255.
    """
    digests = {name: [pixel_digest(image) for image in split.images] for name, split in splits.items()}
    found_in = Counter(digest for found in digests.values() for digest in set(found))
    tables = {}
    for name, split in splits.items():
        blocks = range(0, len(split), _BLOCK)
        means = [split.images[start : start + _BLOCK].mean(axis=(1, 2), dtype=np.float64) for start in blocks]
        channels = np.concatenate([np.empty((0, split.images.shape[-1])), *means])
        tables[name] = pd.DataFrame(
            {
                "image": digests[name],
                "label": [split.classes[label] for label in split.labels],
                "other_splits": [found_in[digest] - 1 for digest in digests[name]],
                "brightness": channels.mean(axis=1),
                **{f"mean_{channel}": channels[:, channel] for channel in range(channels.shape[1])},
            }
        )
    return tables
