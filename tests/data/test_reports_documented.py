"""docs/reports.md names every field of a report and every reason for a refusal, and no others."""

import re
from pathlib import Path

from errata.data.inbox.refusals import Reason
from errata.data.reports import Report

TEXT = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()


def first_column(header: str) -> list[str]:
    table = TEXT.split(f"| {header} |", 1)[1].split("\n\n", 1)[0]
    return [line.split("|")[1].strip().strip("`") for line in table.splitlines()[2:]]


def test_fields() -> None:
    assert sorted(first_column("field")) == sorted(Report.model_fields)
    required = re.findall(r"\| `(\w+)` \| required", TEXT)
    assert sorted(required) == sorted(name for name, field in Report.model_fields.items() if field.is_required())


def test_reasons() -> None:
    assert sorted(first_column("reason")) == sorted(Reason)
