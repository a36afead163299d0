"""What only S3 can suffer: timeouts, 5xx, SlowDown, lost and cut answers, ignored conditions, bad settings."""

import gzip
import time
import tracemalloc
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from errata.data.storage import Storage, open_storage
from errata.data.storage.s3 import S3Storage
from errata.editing.errors import AlreadyStored, NotStored, StoreError, StoreUnusable, Superseded
from tests.servers.faulty_s3 import Fault, FaultyS3

PASSING = [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.NO_ANSWER, Fault.LATE_ANSWER, Fault.LOST_ANSWER]


@pytest.fixture(scope="module")
def impatient(mock_s3_server: FaultyS3) -> Any:
    """A client that waits for no answer longer than 0.3 s; made once, which takes long."""
    return mock_s3_server.client(read_timeout=0.3)


@pytest.fixture
def s3(mock_s3: FaultyS3, impatient: Any) -> Storage:
    return S3Storage("mock", f"faults-{time.monotonic_ns()}", impatient)


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("times", [2])
class TestFaultsThatPass:
    """Every operation meets the fault, twice in a row, and ends as if nothing had been."""

    def test_put_once(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        mock_s3.spoil(fault, "PUT", times)
        s3.put_once("k", b"content")
        assert s3.get("k") == b"content"
        assert mock_s3.requests.count("PUT") == times + 1

    def test_put_once_of_other_content(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        s3.put_once("k", b"content")
        mock_s3.spoil(fault, "PUT", times)
        with pytest.raises(AlreadyStored):
            s3.put_once("k", b"other")

    def test_swap(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        mock_s3.spoil(fault, "PUT", times)
        first = s3.swap("p", b"1", expected=None)
        assert first == s3.read("p")
        mock_s3.spoil(fault, "PUT", times)
        second = s3.swap("p", b"2", expected=first.tag)
        assert second == s3.read("p")
        assert second.content == b"2"

    def test_a_swap_that_is_lost(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        slept = s3.swap("p", b"1", expected=None)
        s3.swap("p", b"2", expected=slept.tag)
        mock_s3.spoil(fault, "PUT", times)
        with pytest.raises(Superseded):
            s3.swap("p", b"2", expected=slept.tag)

    def test_get(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        s3.put_once("k", b"content")
        mock_s3.spoil(fault, "GET", times)
        assert s3.get("k") == b"content"

    def test_keys(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        s3.put_once("a/k", b"content")
        mock_s3.spoil(fault, "GET", times)
        assert list(s3.keys("a/")) == ["a/k"]

    def test_delete(self, s3: Storage, mock_s3: FaultyS3, fault: Fault, times: int) -> None:
        s3.put_once("k", b"content")
        mock_s3.spoil(fault, "DELETE", times)
        s3.delete("k")
        assert list(s3.keys("")) == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_body_that_breaks_off_is_read_again(s3: Storage, mock_s3: FaultyS3, times: int) -> None:
    s3.put_once("k", b"content" * 1000)
    mock_s3.spoil(Fault.CUT_ANSWER, "GET", times)
    assert s3.get("k") == b"content" * 1000


def test_a_body_that_always_breaks_off_is_never_taken_for_whole(s3: Storage, mock_s3: FaultyS3) -> None:
    s3.put_once("k", b"content" * 1000)
    mock_s3.spoil(Fault.CUT_ANSWER, "GET", 3)
    with pytest.raises(StoreUnusable, match="check the endpoint"):
        s3.get("k")


@pytest.mark.parametrize("times", [1, 2])
def test_a_conflict_of_writers_is_tried_again(s3: Storage, mock_s3: FaultyS3, times: int) -> None:
    mock_s3.spoil(Fault.CONFLICT, "PUT", times)
    first = s3.swap("p", b"1", expected=None)
    mock_s3.spoil(Fault.CONFLICT, "PUT", times)
    assert s3.swap("p", b"2", expected=first.tag) == s3.read("p")


def test_a_conflict_that_stays_is_a_lost_swap(s3: Storage, mock_s3: FaultyS3) -> None:
    mock_s3.spoil(Fault.CONFLICT, "PUT", 3)
    with pytest.raises(Superseded):
        s3.swap("p", b"1", expected=None)
    with pytest.raises(NotStored):
        s3.read("p")


@pytest.mark.parametrize("fault", [Fault.INTERNAL_ERROR, Fault.SLOW_DOWN, Fault.NO_ANSWER])
def test_a_store_that_stays_away_is_named_and_nothing_happens(s3: Storage, mock_s3: FaultyS3, fault: Fault) -> None:
    tag = s3.swap("p", b"1", expected=None).tag
    mock_s3.spoil(fault, "PUT", 5)
    with pytest.raises(StoreUnusable, match="s3://mock/faults"):
        s3.swap("p", b"2", expected=tag)
    assert s3.read("p").content == b"1"


@pytest.mark.parametrize("fault", [pytest.param(Fault.LATE_ANSWER, marks=pytest.mark.slow), Fault.LOST_ANSWER])
def test_a_swap_of_which_every_answer_is_lost_still_counts(s3: Storage, mock_s3: FaultyS3, fault: Fault) -> None:
    tag = s3.swap("p", b"1", expected=None).tag
    mock_s3.spoil(fault, "PUT", 5)
    assert s3.swap("p", b"2", expected=tag) == s3.read("p")
    mock_s3.spoil(fault, "PUT", 5)
    with pytest.raises(StoreUnusable):
        s3.put_once("k", b"content")
    s3.put_once("k", b"content")


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_store_that_ignores_conditions_is_refused(s3: Storage, mock_s3: FaultyS3, header: str) -> None:
    s3.probe()
    mock_s3.ignore(header)
    with pytest.raises(StoreUnusable, match=f"ignores conditional writes .{header}.*keep the store elsewhere"):
        s3.probe()
    mock_s3.heal()
    assert list(s3.keys("")) == []


def test_listing_goes_through_all_pages(mock_s3: FaultyS3) -> None:
    s3 = S3Storage("mock", "pages", page_size=3)
    expected = [f"n/{number:02d}" for number in range(31)]
    for key in expected:
        s3.put_once(key, b"")
    mock_s3.requests.clear()
    mock_s3.spoil(Fault.SLOW_DOWN, "GET", 2)
    assert list(s3.keys("n/")) == expected
    assert len(mock_s3.requests) == 2 + 11


def test_a_listing_is_streamed_in_flat_memory(mock_s3: FaultyS3) -> None:
    """Of a thousand names a page no more than a page is held, however many pages there are."""
    client = mock_s3.client()
    left = 0

    def full_page(**_: object) -> AWSResponse:
        nonlocal left
        left -= 1
        names = "".join(f"<Contents><Key>n/{left:03d}-{number:03d}</Key></Contents>" for number in range(1000))
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{left}</NextContinuationToken>" if left else ""
        answer = AWSResponse(mock_s3.url, 200, HTTPHeaders(), None)
        answer._content = f"<ListBucketResult>{names}{more}</ListBucketResult>".encode()  # type: ignore[attr-defined]
        return answer

    client.meta.events.register("before-send.s3.ListObjectsV2", full_page)
    peaks = []
    for pages in (2, 2, 20):  # the first one warms up
        left = pages
        tracemalloc.start()
        assert sum(1 for _ in S3Storage("mock", "", client).keys("n/")) == 1000 * pages
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_what_others_put_beside_is_not_seen(s3: Storage) -> None:
    client = boto3.client("s3", region_name="us-east-1")
    prefix = s3.url.removeprefix("s3://mock/")
    for key in ("a/", "a/../b", "a/.hidden", "a/\x01", "a/ok"):
        client.put_object(Bucket="mock", Key=f"{prefix}/{key}", Body=b"")
    client.put_object(Bucket="mock", Key=f"{prefix}-sibling/x", Body=b"")
    assert list(s3.keys("")) == ["a/ok"]


def test_objects_that_others_put_in_odd_ways_are_their_bytes(s3: Storage, mock_s3: FaultyS3) -> None:
    """In parts, said to be gzip, in the place of a folder, under names that other systems stumble over."""
    client, content = mock_s3.client(), b"x" * (5 * 2**20) + b"end"
    name = s3.url.removeprefix("s3://mock/")
    where = {"Bucket": "mock", "Key": f"{name}/a/parts"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    parts = []
    for number, part in enumerate((content[: 5 * 2**20], content[5 * 2**20 :]), start=1):
        tag = client.upload_part(**where, PartNumber=number, UploadId=upload, Body=part)["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    packed = gzip.compress(b"y" * 1000)
    client.put_object(Bucket="mock", Key=f"{name}/a/packed", Body=packed, ContentEncoding="gzip")
    odd = ["a/100% of it & more?#+=;,", "a/ü", "a/packed/below", "a/'quoted' <b>"]
    for key in odd:
        client.put_object(Bucket="mock", Key=f"{name}/{key}", Body=key.encode())
    for key in ("a/", "a//b", "a/zero\x01", "a/.hidden"):  # no keys of a store
        client.put_object(Bucket="mock", Key=f"{name}/{key}", Body=b"")

    assert sorted(s3.keys("a/")) == sorted(["a/packed", "a/parts", *odd])
    assert (s3.get("a/parts"), s3.size("a/parts")) == (content, len(content))
    assert b"".join(s3.stream("a/packed")) == s3.get("a/packed", at_most=len(packed)) == packed
    assert [s3.get(key) for key in odd] == [key.encode() for key in odd]
    s3.swap("a/parts", b"now a pointer", expected=s3.read("a/parts").tag)
    assert s3.read("a/parts").content == b"now a pointer"
    for key in odd:
        s3.delete(key)
    assert sorted(s3.keys("a/")) == ["a/packed", "a/parts"]


def test_without_a_prefix_the_whole_bucket_is_the_store(mock_s3: FaultyS3) -> None:
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="whole")
    store = open_storage("s3://whole")
    store.put_once("k", b"content")
    assert (store.url, list(store.keys(""))) == ("s3://whole", ["k"])


@pytest.mark.slow
def test_bad_settings_say_what_to_do(mock_s3: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreUnusable, match="create the bucket"):
        open_storage("s3://no-such-bucket/x").get("k")
    with pytest.raises(StoreUnusable, match="create the bucket"):
        open_storage("s3://no-such-bucket/x").probe()
    with pytest.raises(StoreError, match="not a key"):
        open_storage("s3://mock/../other")
    with pytest.raises(StoreUnusable, match="give a folder"):
        open_storage("s3://")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreUnusable, match="credentials"):
        open_storage("s3://mock/x").get("k")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(StoreUnusable, match="check the endpoint"):
        open_storage("s3://mock/x").get("k")


def test_every_error_of_botocore_is_of_the_two_kinds_that_are_mapped() -> None:
    kinds = [kind for kind in vars(botocore.exceptions).values() if isinstance(kind, type)]
    errors = [
        kind
        for kind in kinds
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__ == "botocore.exceptions"
    ]
    mapped = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
    of_its_service_models = {"UndefinedModelAttributeError", "MissingServiceIdError"}  # raised before any request
    assert len(errors) > 50
    assert {kind.__name__ for kind in errors if not issubclass(kind, mapped)} == of_its_service_models
