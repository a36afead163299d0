"""`errata waiting`, `errata quarantine` and `errata requeue`, as a person types them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from errata.data import layout
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting
from errata.data.images import encode_png
from errata.data.inbox.quarantine import quarantine
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.reports import file_report
from errata.data.storage import open_storage
from errata.flows.cli.app import app


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


def test_what_waits_is_listed_with_its_doubt_and_what_it_needs(tmp_path: Path) -> None:
    storage, options = open_storage(tmp_path), ["--store", str(tmp_path)]
    first, new = (file_report(storage, encode_png(np.zeros((8, 8, 1), np.uint8)), name) for name in ("7", "8"))
    assert "no claim waits" in CliRunner().invoke(app, ["waiting", *options]).output
    side = Waiting("c" * 64, "7", 0.25, (first.id,), "3 reporters", 2)
    keep_waiting(storage, WaitingClaims("2026-01-01T02:00:00+00:00", "a run", (side,)))
    said = CliRunner().invoke(app, ["waiting", *options], env={"COLUMNS": "200"}).output
    assert "25%" in said
    assert "3 reporters, 2 more" in said
    assert "1 more reports are in the inbox" in said
    listed = json.loads(CliRunner().invoke(app, ["waiting", "--json", *options]).output)
    assert (listed["at"], listed["not_looked_at"]) == ("2026-01-01T02:00:00+00:00", 1)
    assert [each["reports"] for each in listed["claims"]] == [[first.id]]
    assert new.id not in str(listed)
