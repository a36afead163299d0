"""`errata quarantine` and `errata requeue`, as a person types them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from data import layout
from data.images import encode_png
from data.inbox.quarantine import quarantine
from data.inbox.refusals import Reason, Refusal
from data.reports import file_report
from data.storage import open_storage
from flows.cli.app import app


def test_a_refused_report_is_listed_and_sent_back(tmp_path: Path) -> None:
    storage, options = open_storage(tmp_path), ["--store", str(tmp_path)]
    filed = file_report(storage, encode_png(np.zeros((8, 8, 1), np.uint8)), "7")
    assert "nothing" in CliRunner().invoke(app, ["quarantine", *options]).output
    quarantine(storage, Refusal(filed.id, Reason.CONFLICT, "[red]others say 8"), datetime.now(UTC))
    listed = CliRunner().invoke(app, ["quarantine", *options], env={"COLUMNS": "200"}).output
    assert filed.id[:12] in listed
    assert "[red]others say 8" in listed
    [record] = json.loads(CliRunner().invoke(app, ["quarantine", "--json", *options]).output)
    assert (record["id"], record["reason"]) == (filed.id, "conflict")
    assert "back in the inbox" in CliRunner().invoke(app, ["requeue", filed.id[:8], *options]).output
    assert list(storage.keys("reports/")) == [layout.inbox_report(filed.id)]
    assert CliRunner().invoke(app, ["requeue", filed.id[:8], *options]).exit_code != 0
