"""Kinds on the review page: questions answered, kinds decided about, by trusted reviewers, as records of the store."""

from dataclasses import replace
from pathlib import Path

import pytest

from errata.data.images import pixel_digest
from errata.data.releases.correction_images import keep_image
from errata.data.releases.edit_record import EditRecord, KindRecord
from errata.data.releases.kind_inputs import recorded_kind_decisions, stored_inputs
from errata.data.releases.manifest import FileEntry, sha256
from errata.data.releases.questions import Question, keep_question
from errata.data.storage.local import LocalStorage
from errata.flows.releases.contents.bundle import Bundle, publish
from tests.browser import start_browser
from tests.flows.cli.review.conftest import Desk, form_token
from tests.flows.cli.review.test_keyboard import ENTER, served
from tests.serving.releases import IMAGES, bundle, point_at

NAMES = [pixel_digest(image) for image in IMAGES[:8]]
EVIL = 'ice"><script>alert(1)</script>'


def kind(name: str, corrections: list[str], why: str = "") -> KindRecord:
    return KindRecord(name, -1, tuple(corrections), (), 0, 0.0, 0.0, 0, 0.0, 0.0, why)


@pytest.fixture
def desk(storage: LocalStorage) -> Desk:
    """A live release with two kinds, of three corrections each, and two questions."""
    made = bundle(1)
    record = EditRecord(True, 1, "", {}, kinds=(kind("snow", NAMES[:3]), kind(EVIL, NAMES[3:6], "too few"))).to_json()
    entries = {**made.manifest.files, "edit.json": FileEntry(sha256(record), len(record))}
    made = Bundle(replace(made.manifest, files=entries), {**made.files, "edit.json": record})
    publish(storage, made)
    point_at(storage, made.manifest)
    for name, image in zip(NAMES, IMAGES, strict=False):
        keep_image(storage, name, image)
    for number in (6, 7):
        keep_question(storage, Question(NAMES[number], "class 1", "class 2", "snow"), IMAGES[number])
    return Desk(storage)


def test_each_decision_is_a_record_with_who_and_why(desk: Desk) -> None:
    client = desk.as_("ann lee")
    token = form_token(client.get("/kinds"))

    def say(**more: str) -> int:
        return int(client.post("/kinds", data={"form_token": token, **more}).status_code)

    assert say(kind="snow", action="decide", what="dissolved") == 422, "without a reason"
    assert say(kind="snow", action="decide", what="explode", why="so") == 422
    assert say(kind="rain", action="name", name="wet") == 503, "there is no such kind"
    assert say(kind="snow", action="name", name="a\nb") == 422
    assert say(kind="snow", action="decide", what="split", why="so") == 422, "nothing is marked"
    assert recorded_kind_decisions(desk.storage) == ()
    assert say(kind="snow", action="name", name="first snow") == 200
    marked = {f"member-{NAMES[1]}": "1"}
    assert say(kind="snow", action="decide", what="split", why="another camera", name="", **marked) == 200
    assert say(kind="snow", action="decide", what=f"merged:{EVIL}", why="the same") == 200
    assert say(kind="snow", action="decide", what="dissolved", why="no kind") == 200
    assert say(kind="snow", action="decide", what="restored", why="it is") == 200
    found = recorded_kind_decisions(desk.storage)
    assert [(each.decision.action, each.by, each.why) for each in found] == [
        ("named", "ann lee", "said in review"),
        ("split", "ann lee", "another camera"),
        ("merged", "ann lee", "the same"),
        ("dissolved", "ann lee", "no kind"),
        ("restored", "ann lee", "it is"),
    ]
    assert found[0].decision.name == "first snow"
    assert found[1].decision.members == (NAMES[1],)
    assert set(found[2].decision.members) == set(NAMES[:6])


def test_a_question_is_answered_once_and_labels_its_image(desk: Desk) -> None:
    client = desk.as_("ann lee")
    page = client.get("/kinds")
    assert page.text.count("class 1 ") >= 2
    fields = {"form_token": form_token(page), "image": NAMES[6], "action": "new"}
    said = client.post("/kinds/answer", data=fields)
    assert (said.status_code, said.json()["said"]) == (200, "noted: it is class 2; the next night judges snow by it")
    (label,) = stored_inputs(desk.storage).labelled.corrections
    assert (label.id, label.expected, label.reports) == (NAMES[6], "class 2", ("ann lee",))
    assert client.post("/kinds/answer", data={**fields, "action": "old"}).status_code == 422
    assert NAMES[6] not in client.get("/kinds").text


def test_who_is_not_trusted_or_not_signed_in_or_elsewhere_decides_nothing(desk: Desk) -> None:
    mallory, ann = desk.as_("mallory"), desk.as_("ann lee")
    forms = (
        ("/kinds", {"kind": "snow", "action": "name", "name": "x"}),
        ("/kinds/answer", {"image": NAMES[6], "action": "new"}),
    )
    page = ann.get("/kinds")
    for path, fields in forms:
        assert desk.as_(None).post(path, data=fields).status_code == 401
        assert ann.post(path, data=fields).status_code == 403, "a form that was not shown"
        other = {"Origin": "https://evil.example"}
        assert ann.post(path, data={**fields, "form_token": form_token(page)}, headers=other).status_code == 403
        mine = form_token(mallory.get("/kinds"))
        assert mallory.post(path, data={**fields, "form_token": mine}).status_code == 403
    assert recorded_kind_decisions(desk.storage) == ()
    assert stored_inputs(desk.storage).labelled.corrections == ()
    assert "<script>alert" not in page.text
    assert desk.as_(None).get(f"/corrections/{NAMES[0]}").status_code == 401
    assert ann.get(f"/corrections/{NAMES[0]}").headers["content-type"] == "image/png"
    assert "gone from the store" in ann.get(f"/corrections/{'a' * 64}").text


@pytest.mark.slow
def test_kinds_are_decided_by_keys(desk: Desk, tmp_path: Path) -> None:
    with served(desk) as url, start_browser(tmp_path / "profile") as browser:
        browser.visit(f"{url}/sign-in#{desk.sign_in.issue('ann lee')}", 1200, 900)
        browser.wait_for("location.pathname === '/'")
        browser.visit(f"{url}/kinds", 1200, 900)
        browser.wait_for("document.querySelectorAll('article.card').length === 4")
        browser.press("3")
        browser.wait_for("document.querySelector('.card .outcome').textContent.includes('neither')")
        browser.press("1")
        browser.wait_for("document.querySelectorAll('.card .outcome')[1].textContent.includes('class 1')")
        browser.wait_for("document.querySelector('.card.current').id === 'k1'")
        browser.press("n")
        browser.press("wet snow 12" + ENTER)
        browser.wait_for("document.querySelector('#k1 .outcome').textContent.includes('it is wet snow 12')")
        browser.evaluate("document.querySelectorAll('#k1 [type=checkbox]')[2].click()")
        browser.evaluate(
            "(document.querySelector('#k1 select').value = 'split', document.querySelector('#k1 [name=why]').focus())"
        )
        browser.press("so" + ENTER)
        browser.wait_for("document.querySelector('#k1 .outcome').textContent.includes('split: 1')")
        for width, scheme in ((390, "dark"), (1200, "light")):
            browser.visit(f"{url}/kinds", width, 844, scheme)
            assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        assert browser.console() == []
    assert sorted(each.expected for each in stored_inputs(desk.storage).labelled.corrections) == ["", "class 1"]
    assert [each.decision.action for each in recorded_kind_decisions(desk.storage)] == ["named", "split"]
