"""What a reviewer sees, and that each decision is a record which the nights read."""

import re

from errata.data import layout
from errata.data.images import pixel_digest
from errata.data.inbox.claim import Claim
from errata.data.releases.manifest import read_live
from errata.data.reports import parse_report
from errata.data.storage.base import Storage
from errata.flows.cli.review.queue import review_report
from errata.flows.night.collect import withdrawn_claims
from errata.flows.releases.standing import decisions
from tests.flows.cli.review.conftest import CLASSES, Desk, decide, predicted
from tests.serving.releases import IMAGES

NOW = predicted(9)
CLAIMED, OTHER, THIRD = (name for name in CLASSES if name != NOW)


def said_by(storage: Storage, name: str) -> list[str]:
    """The classes that somebody's reports in the inbox say."""
    reports = [parse_report(storage.get(key)) for key in storage.keys(layout.INBOX)]
    return sorted(each.expected for each in reports if each.reporter == name)


def standing(storage: Storage) -> dict[str, tuple[str, str, str]]:
    """What stands on each class of image 9: what was decided, by whom, why."""
    found = read_live(storage)
    assert found is not None
    mine = {claim: each for claim, each in decisions(storage, found[0]).items() if claim[0] == pixel_digest(IMAGES[9])}
    return {claim[1]: (each.action, each.by, each.why) for claim, each in mine.items()}


def test_a_card_tells_what_is_claimed_by_whom_and_what_the_model_says(desk: Desk) -> None:
    desk.claim(9, CLAIMED, "bob", "José", doubt=0.125, note="look at the top")
    desk.claim(7, predicted(7))
    page = desk.as_("ann lee").get("/").text
    for words in (NOW, CLAIMED, "bob", "José", "12.5%", "3 reporters, 2 more", "look at the top", "2 in the inbox"):
        assert words in page, words
    assert "with one of 8 slots (0 are taken)" in page
    assert "the model says so already" in page
    assert page.index("12.5%") < page.index("no night has looked yet")


def test_accepting_is_a_report_of_a_trusted_reporter(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED, doubt=0.5)
    client = desk.as_("ann lee")
    answer = decide(client, report, "accept")
    assert (answer.status_code, answer.json()) == (200, {"said": f"accepted: the next night corrects it to {CLAIMED}"})
    assert said_by(desk.storage, "ann lee") == [CLAIMED]
    assert decide(client, report, "accept").status_code == 200  # twice is once
    assert said_by(desk.storage, "ann lee") == [CLAIMED]
    assert "accepted by ann lee" in client.get("/").text


def test_refusing_is_the_record_that_nights_honour_and_accepting_takes_it_back(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED, doubt=0.5)
    client = desk.as_("Ann Lee")
    assert decide(client, report, "refuse", why=" ").status_code == 422
    assert standing(desk.storage) == {}
    before = desk.storage.read(layout.LIVE)
    assert decide(client, report, "refuse", why="blurred").status_code == 200
    assert standing(desk.storage) == {CLAIMED: ("retracted", "Ann Lee", "blurred")}
    assert desk.storage.read(layout.LIVE) == before, "a night that runs does not lose its swap for it"
    found = read_live(desk.storage)
    assert found is not None
    now = Claim(report.id, report.image, pixel_digest(IMAGES[9]), CLAIMED, None, "bob", report.filed_at, NOW)
    (refusal,) = withdrawn_claims([now], decisions(desk.storage, found[0]))
    assert "Ann Lee withdrew" in refusal.detail and "blurred" in refusal.detail
    assert "refused by Ann Lee: blurred" in client.get("/").text
    assert decide(client, report, "accept").status_code == 200
    assert standing(desk.storage)[CLAIMED][0] == "reinstated"
    assert layout.correction_image(pixel_digest(IMAGES[9])) in set(desk.storage.keys(layout.CORRECTIONS))


def test_another_class_is_the_reviewers_own_report_or_a_refusal_where_the_model_is_right(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED)
    client = desk.as_("ann lee")
    assert decide(client, report, "other", other=OTHER).status_code == 200
    assert said_by(desk.storage, "ann lee") == [OTHER]
    assert standing(desk.storage) == {CLAIMED: ("retracted", "ann lee", f"it is {OTHER}")}
    unknown = decide(client, report, "other", other="clas 1")
    assert (unknown.status_code, "did you mean 'class 1'" in unknown.json()["detail"]) == (422, True)
    assert decide(client, report, "other", other=CLAIMED).status_code == 422
    third = desk.claim(9, THIRD)
    assert decide(client, third, "other", other=NOW).status_code == 200
    assert standing(desk.storage)[THIRD] == ("retracted", "ann lee", f"it is {NOW}, as the model says")


def test_whom_nobody_named_as_trusted_counts_as_one_person_and_refuses_nothing(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED, doubt=0.5)
    client = desk.as_("mallory")
    assert "your word counts as one person" in client.get("/").text
    assert decide(client, report, "refuse", why="I say so").status_code == 403
    assert decide(client, report, "other", other=NOW).status_code == 403
    assert standing(desk.storage) == {}
    assert "one more person says" in decide(client, report, "accept").json()["said"]
    assert "accepted by" not in client.get("/").text
    decide(desk.as_("ann lee"), report, "refuse", why="blurred")
    assert decide(client, report, "accept").status_code == 403, "nor takes back what a trusted person refused"


def test_what_cannot_be_looked_at_says_why(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED)
    desk.storage.delete(layout.image(report.image))
    desk.storage.put_once(layout.image(report.image), b"no image")
    client = desk.as_("ann lee")
    page = client.get("/").text
    assert "the next night refuses it, for the image cannot be used" in page
    assert decide(client, report, "accept").status_code == 503


def test_a_long_queue_has_pages(desk: Desk) -> None:
    for number in range(45):
        report = desk.claim(9, CLAIMED, f"somebody {number}")
    client = desk.as_("ann lee")
    decide(client, report, "accept")
    assert all("accepted by ann lee" in client.get(f"/?start={start}").text for start in (0, 40))
    desk.storage.delete(layout.inbox_report(review_report(report.image, CLAIMED, "ann lee")))
    first = client.get("/").text
    assert "45 in the inbox" in first
    assert '/?start=40"' in first
    assert first.count("<time") == 40
    assert client.get("/?start=40").text.count("<time") == 5


def test_names_that_run_from_right_to_left_turn_nothing_around(desk: Desk) -> None:
    hebrew = "דנה כהן"
    report = desk.claim(9, CLAIMED, hebrew, note="זה כלב")
    client = desk.as_("ann lee")
    for path in ("/", "/reports", f"/reports/{report.id}"):
        page = client.get(path).text
        assert page.count(hebrew) == len(re.findall(f"<bdi[^>]*>{hebrew}</bdi>", page)) > 0, path
        assert f"<bdi>{CLAIMED}</bdi>" in page
    assert '<blockquote dir="auto">זה כלב' in client.get("/").text


def test_an_empty_queue_says_what_comes_here_and_names_no_keys(desk: Desk) -> None:
    client = desk.as_("ann lee")
    page = client.get("/").text
    assert "Claims come here when somebody reports an image" in page
    assert '<p class="keys">' not in page
    assert "No report was filed yet." in client.get("/reports").text
    assert "No report is refused." in client.get("/reports?state=refused").text


def test_the_history_of_a_report_and_of_all(desk: Desk) -> None:
    report = desk.claim(9, CLAIMED, note="look")
    client = desk.as_("ann lee")
    assert report.id in client.get("/reports").text
    assert report.id not in client.get("/reports?state=refused").text
    page = client.get(f"/reports/{report.id}").text
    for words in ("filed: should be", CLAIMED, "look", "the next night looks at it"):
        assert words in page, words
    assert "Withdraw" not in page
    assert client.get(f"/reports/{'a' * 64}").status_code == 404
    assert client.get("/reports/..%2f..%2flive.json").status_code in (404, 422)
