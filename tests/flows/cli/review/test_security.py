"""Nobody decides who did not sign in, no other site decides for somebody who did, and nothing that is shown runs."""

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from errata.data import layout
from errata.data.reports import Report, file_report
from errata.flows.cli.review.sign_in import COOKIE, SignIn
from tests.flows.cli.review.conftest import BROWSER, CLASSES, Desk, decide, form_token, predicted

CLAIMED = next(name for name in CLASSES if name != predicted(9))
PAGES = ("/", "/reports", f"/reports/{'a' * 64}", f"/images/{'a' * 64}")


def untouched(desk: Desk) -> list[str]:
    """Every key that a decision would add to."""
    return [key for key in desk.storage.keys("") if key.startswith((layout.INBOX, layout.RETRACTED, layout.LOG))]


@pytest.mark.parametrize(
    "token",
    [None, "", "made.up.token", SignIn(b"another secret").issue("ann lee")],
    ids=[
        "none",
        "empty",
        "made up",
        "of another secret",
    ],  # a token holds the time: each process would name it its own way
)
def test_without_a_sign_in_nothing_is_shown_and_nothing_decided(desk: Desk, token: str | None) -> None:
    report = desk.claim(9, CLAIMED)
    before = untouched(desk)
    client = desk.as_(None)
    if token is not None:
        client.cookies.set(COOKIE, token)
    for page in PAGES:
        assert client.get(page).status_code == 401
        seen = client.get(page, headers=BROWSER)
        assert (seen.status_code, seen.headers["location"]) == (303, "/sign-in")
    fields = {"image": report.image, "expected": CLAIMED, "action": "accept"}
    assert client.post("/decide", data=fields).status_code == 401
    assert client.post(f"/reports/{report.id}/withdraw", data={"why": "so"}).status_code == 401
    assert client.post("/sign-in", data={"token": token or "x"}).status_code == 401
    assert untouched(desk) == before


def test_a_sign_in_ends(desk: Desk) -> None:
    desk.sign_in = SignIn(b"a secret", seconds=-1)
    assert desk.as_("ann lee").get("/").status_code == 401


def test_a_token_becomes_a_cookie_that_no_script_and_no_other_site_has(desk: Desk) -> None:
    client = desk.as_(None)
    entered = client.post("/sign-in", data={"token": desk.sign_in.issue("ann lee")})
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    flags = {each.strip().lower() for each in entered.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    assert client.get("/").status_code == 200
    assert client.post("/sign-out", data={"form_token": form_token(client.get("/"))}).status_code == 303
    assert client.get("/").status_code == 401
    other = {"Origin": "https://evil.example"}
    assert client.post("/sign-in", data={"token": desk.sign_in.issue("bob")}, headers=other).status_code == 403


@pytest.mark.parametrize("forged", ["", "x", "of another", "a sign-in"])
def test_a_form_that_this_site_did_not_show_this_person_decides_nothing(desk: Desk, forged: str) -> None:
    report = desk.claim(9, CLAIMED)
    before = untouched(desk)
    client = desk.as_("ann lee")
    token = {"of another": form_token(desk.as_("bob").get("/")), "a sign-in": desk.sign_in.issue("ann lee")}
    fields = {"image": report.image, "expected": CLAIMED, "action": "accept"}
    assert client.post("/decide", data={**fields, "form_token": token.get(forged, forged)}).status_code == 403
    right = {**fields, "form_token": form_token(client.get("/"))}
    for origin in ("https://evil.example", "null", "http://testserver.evil.example"):
        assert client.post("/decide", data=right, headers={"Origin": origin}).status_code == 403
    assert untouched(desk) == before
    assert client.post("/decide", data=right, headers={"Origin": "http://testserver"}).status_code == 200


def test_a_program_signs_in_by_its_own_header(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED)
    client = desk.as_(None)
    bearer = {"Authorization": f"Bearer {desk.sign_in.issue('ann lee')}"}
    fields = {"image": report.image, "expected": CLAIMED, "action": "accept"}
    assert client.post("/decide", data=fields, headers=bearer).status_code == 200
    assert client.post("/decide", data=fields, headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_proxys_header_counts_from_its_address_alone(desk: Desk) -> None:
    desk.sign_in = SignIn(b"a secret", header="X-Forwarded-Email", proxies=frozenset({"10.0.0.1"}))
    named = {"X-Forwarded-Email": "ann@example.org"}
    proxied = desk.as_(None, client=("10.0.0.1", 1234))
    page = proxied.get("/", headers=named)
    assert (page.status_code, "ann@example.org" in page.text) == (200, True)
    assert desk.as_(None, client=("10.0.0.2", 1234)).get("/", headers=named).status_code == 401
    for headers in ({}, {"X-Forwarded-Email": " "}, {"X-Forwarded-Email": "x" * 201}):
        assert proxied.get("/", headers=headers).status_code == 401
    both: Any = [("X-Forwarded-Email", "ann@example.org"), ("X-Forwarded-Email", "bob@example.org")]
    assert proxied.get("/", headers=both).status_code == 401
    assert desk.as_("ann lee").get("/").status_code == 401, "a token is not taken then"
    assert proxied.post("/sign-in", data={"token": desk.sign_in.issue("bob")}).status_code == 404


def test_what_people_write_is_text_everywhere(desk: Desk) -> None:
    evil = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>"
    report = desk.claim(9, CLAIMED, evil, doubt=0.5, note=evil)
    file_report(desk.storage, desk.storage.get(layout.image(report.image)), evil, reporter="bob")
    client = desk.as_("ann lee")
    decide(client, report, "refuse", why=evil)
    refused = decide(client, report, "other", other=evil)
    assert refused.headers["content-type"] == "application/json"
    told = client.post("/decide", data={"action": evil, "form_token": form_token(client.get("/"))}, headers=BROWSER)
    assert told.status_code == 422
    for text in (
        client.get("/").text,
        client.get("/reports").text,
        client.get(f"/reports/{report.id}").text,
        told.text,
    ):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert re.findall(r"<script[^>]*>", text) == ['<script src="/review.js">']


def test_a_picture_is_encoded_anew_and_is_never_a_page(desk: Desk) -> None:
    hidden = io.BytesIO()
    Image.new("RGB", (8, 8)).save(hidden, "PNG")
    content = hidden.getvalue() + b"<script>alert(1)</script>"
    sent = file_report(desk.storage, content, CLAIMED)
    answer = desk.as_("ann lee").get(f"/images/{sent.image}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert b"script" not in answer.content
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_reporter_who_stores_a_terabyte_takes_no_memory_and_hides_no_claim(desk: Desk, tmp_path: Path) -> None:
    honest = desk.claim(9, CLAIMED)
    huge = tmp_path / "store" / layout.image("a" * 64)
    huge.touch()
    os.truncate(huge, 2**40)  # of nothing: it takes no room on the disk
    report = Report(image="a" * 64, expected=CLAIMED, reporter="mallory", filed_at=honest.filed_at)
    desk.storage.put_once(layout.inbox_report(report.id), report.to_json())
    client = desk.as_("ann lee")
    page = client.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert f"/images/{honest.image}" in page.text and "the limit is" in page.text
    assert client.get(f"/images/{report.image}").status_code == 503
    assert decide(client, report, "accept").status_code == 503


def test_every_answer_says_what_a_browser_may_do(desk: Desk) -> None:
    client = desk.as_("ann lee")
    for path in ("/", "/sign-in", "/review.js", "/no/such/page", f"/reports/{'a' * 64}"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


def test_other_methods_and_large_or_odd_forms_are_refused(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED)
    before = untouched(desk)
    client = desk.as_("ann lee")
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        assert client.request(method, "/decide").status_code == 405
    assert client.get(f"/reports/{report.id}/withdraw").status_code == 405
    token = form_token(client.get("/"))
    assert client.post("/decide", content=b"x" * (2**18 + 1)).status_code == 413
    assert client.post("/decide", content=b"\xff\xfe").status_code == 422
    assert client.post("/decide", content="&".join(f"f{n}=1" for n in range(30))).status_code == 422
    for wrong in ({"action": "erase"}, {"image": "../live.json"}, {"expected": "a\nb"}, {"more": "x"}):
        fields = {"image": report.image, "expected": CLAIMED, "action": "accept", "form_token": token, **wrong}
        assert client.post("/decide", data=fields).status_code == 422, wrong
    odd = decide(client, report, "refuse", why="so", reports="../../live.json")
    assert odd.status_code == 422
    assert untouched(desk) == before
