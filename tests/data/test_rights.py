"""Each role under the very policy that docs/store.md gives it, on a real S3 server: what it needs works, no more."""

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from fastapi.testclient import TestClient

from errata.data import layout
from errata.data.belief.report_states import report_state
from errata.data.belief.waiting import Waiting, WaitingClaims, keep_waiting
from errata.data.images import encode_png
from errata.data.inbox.deferred import defer
from errata.data.inbox.intake import Accepted, read_inbox
from errata.data.inbox.quarantine import quarantine as quarantine_report
from errata.data.inbox.quarantine import quarantined, settle
from errata.data.inbox.refusals import Reason, Refusal
from errata.data.releases.candidate import (
    Candidate,
    ShadowCounts,
    point_at_candidate,
    put_counts,
    read_candidate,
    seen_counts,
)
from errata.data.releases.erasure import Erasure, ask
from errata.data.releases.looks import Looks
from errata.data.reports import file_report
from errata.data.storage.s3 import S3Storage
from errata.editing.errors import StoreUnusable, Unreadable
from errata.serving.service import create_app
from tests.data.conftest import NOON
from tests.servers.s3_server import ROLES

POLICY = Path(__file__).parents[2] / "docs" / "store-policy.json"
IMAGE = encode_png(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
Role = Callable[[str], S3Storage]


@pytest.fixture
def real_s3_role() -> Role:
    """A store of its own, under the documented policy, as a role sees it; `owner` may do anything."""
    if "ERRATA_TEST_S3" not in os.environ:
        pytest.skip("needs a real S3 server: make test-s3")
    bucket, prefix = f"rights-{secrets.token_hex(6)}", "errata"
    owner = boto3.client("s3")
    owner.create_bucket(Bucket=bucket)
    text = POLICY.read_text().replace("BUCKET", bucket).replace("PREFIX", prefix)
    owner.put_bucket_policy(Bucket=bucket, Policy=text)

    def as_role(role: str) -> S3Storage:
        if role == "owner":
            return S3Storage(bucket, prefix, owner)
        access, _, secret = os.environ[f"ERRATA_TEST_S3_{role.upper()}"].partition(":")
        client = boto3.client("s3", aws_access_key_id=access, aws_secret_access_key=secret)
        return S3Storage(bucket, prefix, client)

    return as_role


def refused(work: Callable[[], Any]) -> bool:
    """Whether the server says no."""
    with suppress(StoreUnusable, Unreadable):
        work()
        return False
    return True


def test_the_documented_policy_names_every_role_and_no_other() -> None:
    users = {user for each in json.loads(POLICY.read_text())["Statement"] for user in each["Principal"]["AWS"]}
    assert users == {f"arn:aws:iam:::user/{role}" for role in ROLES}


@pytest.mark.parametrize(("role", "other"), [("reporter", "service"), ("service", "reporter")])
def test_who_files_files_a_picture_that_is_there_already_on_real_s3(real_s3_role: Role, role: str, other: str) -> None:
    """Picture and claim lie there, put by somebody else: these credentials may not read the picture."""
    first = file_report(real_s3_role(other), IMAGE, "7", reporter="Ada")
    storage = real_s3_role(role)
    inbox = layout.inbox_report(first.id)
    assert refused(lambda: storage.get(inbox)) == (role == "reporter")
    assert refused(lambda: storage.get(layout.image(first.image)))
    second = file_report(storage, IMAGE, "7", reporter="Grace")
    again = file_report(storage, IMAGE, "7", reporter="Ada")
    assert again.id == first.id != second.id
    found = [each for each in read_inbox(real_s3_role("worker"), ("1", "7"), (8, 8, 3)) if isinstance(each, Accepted)]
    assert {each.report.id for each in found} == {first.id, second.id}
    assert refused(lambda: storage.delete(inbox))
    assert refused(lambda: list(storage.keys(layout.INBOX))) == (role == "reporter")
    assert all(refused(lambda prefix=prefix: list(storage.keys(prefix))) for prefix in ("", layout.IMAGES, layout.LOG))  # type: ignore[misc]
    assert refused(lambda: storage.put_once(layout.release_file(1, "report.html"), b"mine"))
    assert refused(lambda: storage.put_once(layout.look("a" * 64, 1, "b" * 64), b"{}"))
    assert refused(lambda: storage.swap(layout.LIVE, b"{}", expected=None))


@pytest.mark.parametrize("role", ["client", "service"])
def test_who_serves_reads_releases_on_real_s3(real_s3_role: Role, role: str) -> None:
    owner, storage = real_s3_role("owner"), real_s3_role(role)
    owner.put_once(layout.release_file(1, "x"), b"a release")
    owner.swap(layout.LIVE, b"{}", expected=None)
    assert storage.get(layout.release_file(1, "x")) == b"a release"
    assert storage.read(layout.LIVE).content == b"{}"
    owner.put_once(layout.image("a" * 64), b"a photo")
    assert refused(lambda: storage.get(layout.image("a" * 64)))
    assert refused(lambda: storage.put_once(layout.release_file(2, "x"), b"mine"))


def test_the_service_tells_what_became_of_each_report_on_real_s3(real_s3_role: Role) -> None:
    """Most of the places where a report could be are empty; nothing is released, and at first nothing waits."""
    worker, storage = real_s3_role("worker"), real_s3_role("service")
    new, odd, left_out, taken = (file_report(storage, IMAGE, name, reporter="Ada").id for name in ("1", "2", "3", "4"))
    with TestClient(create_app(storage)) as client:

        def became(report: str) -> str:
            answer = client.get(f"/reports/{report}")
            return str(answer.json().get("state", answer.status_code))

        assert [became(each) for each in (new, "a" * 64)] == ["new", "404"]
        quarantine_report(worker, Refusal(odd, Reason.CONFLICT, "a test"), NOON)
        defer(worker, left_out, "it flips 3 images", "a run")
        settle(worker, [taken], 1)
        ask(worker, Erasure(1, ("e" * 64,), (), (), ("f" * 64,), "ada", "they asked", NOON.isoformat()))
        side = Waiting("c" * 64, "1", 0.25, (new,), "3 reporters", 2)
        keep_waiting(worker, WaitingClaims(NOON.isoformat(), "a run", (side,)))
        found = [became(each) for each in (new, odd, left_out, taken, "f" * 64)]
    assert found == ["waiting", "refused", "deferred", "not held", "erased"]
    assert refused(lambda: report_state(real_s3_role("client"), new))


def test_the_worker_probes_moves_reports_and_releases_on_real_s3(real_s3_role: Role) -> None:
    storage = real_s3_role("worker")
    storage.probe()
    kept, gone = (file_report(real_s3_role("reporter"), IMAGE, name, reporter="Ada") for name in ("7", "9"))
    moment = kept.filed_at
    quarantine_report(storage, Refusal(gone.id, Reason.CONFLICT, "a test"), moment)
    assert [each.id for each in quarantined(storage)] == [gone.id]
    settle(storage, [kept.id], 1)
    assert list(storage.keys(layout.INBOX)) == []
    storage.put_once(layout.release_file(1, "x"), b"a release")
    assert Looks(storage).count("a" * 64, ["c" * 64], "b" * 64) == 1
    tag = storage.swap(layout.LIVE, b"{}", expected=None).tag
    storage.swap(layout.LIVE, b"[]", expected=tag)
    assert refused(lambda: storage.delete(layout.release_file(1, "x")))  # a release is never removed by a night
    assert refused(lambda: storage.delete(layout.look("a" * 64, 1, "b" * 64)))  # nor is a look
    assert refused(lambda: storage.delete(layout.image(kept.image)))


def test_the_operator_removes_what_erase_and_prune_remove_and_no_record_on_real_s3(real_s3_role: Role) -> None:
    owner, storage = real_s3_role("owner"), real_s3_role("operator")
    goes = [
        layout.image("a" * 64), layout.correction_image("b" * 64), layout.release_file(1, "patch.safetensors"),
        layout.removal(1), "dvc/files/md5/aa/b", layout.settled_report(1, "c"), layout.inbox_report("c"),
    ]  # fmt: skip
    stays = [layout.log_entry(1), layout.erasure(1), layout.erasure_done(1), layout.retraction("b", 1), layout.LIVE]
    for key in (*goes, *stays):
        owner.put_once(key, b"{}")
    for key in goes:
        storage.delete(key)
    assert all(refused(lambda key=key: storage.delete(key)) for key in stays)  # type: ignore[misc]
    assert set(storage.keys("")) == set(stays)
    storage.put_once(layout.erasure(2), b"{}")
    assert storage.size(layout.erasure(2)) == 2


def test_the_auditor_reads_everything_and_changes_nothing_on_real_s3(real_s3_role: Role) -> None:
    owner, storage = real_s3_role("owner"), real_s3_role("auditor")
    owner.put_once(layout.release_file(1, "x"), b"a release")
    owner.put_once(layout.log_entry(1), b"{}")
    assert set(storage.keys("")) == {layout.release_file(1, "x"), layout.log_entry(1)}
    assert storage.get(layout.log_entry(1)) == b"{}"
    assert refused(lambda: storage.put_once(layout.log_entry(2), b"{}"))
    assert refused(lambda: storage.delete(layout.log_entry(1)))


def test_a_service_reads_the_candidate_and_says_what_it_saw_on_real_s3(real_s3_role: Role) -> None:
    worker, service = real_s3_role("worker"), real_s3_role("service")
    assert read_candidate(service) is None, "what is not there is no refusal"
    candidate = Candidate(2, "a" * 64, "b" * 64, (), (), "a run", "now")
    point_at_candidate(worker, candidate)
    assert read_candidate(service) == candidate
    counts = ShadowCounts(candidate.manifest_sha256, candidate.parent, 10, 1)
    key = layout.shadow_counts(candidate.manifest_sha256, datetime.now(UTC), "a-service")
    put_counts(service, key, counts)
    assert list(seen_counts(worker, candidate.manifest_sha256, candidate.parent)) == [counts]
    assert refused(lambda: point_at_candidate(service, candidate))
    reporter = real_s3_role("reporter")
    assert refused(lambda: reporter.get(key))
    assert refused(lambda: put_counts(reporter, f"{key}-more", counts))
