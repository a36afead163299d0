"""The report where it is hardest to read: no correction, hundreds of them, names of any length, a phone."""

from pathlib import Path

import pytest

from errata.data.releases.edit_record import EditRecord
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.ledger import Ledger
from errata.flows.gate.criterion import REQUIRED
from errata.flows.releases.contents.report import render_report
from tests.browser import start_browser
from tests.flows.releases.test_report import HOSTILE, LINEAGE, a_release, shown

SHOWN_FIRST = 96


def test_a_release_without_corrections_says_so_and_offers_no_search() -> None:
    files, _ = a_release(1)
    files["ledger.jsonl"] = Ledger(7, ()).to_jsonl().encode()
    files["edit.json"] = EditRecord(success=True, steps=0, reason="", holds={}).to_json()
    files["evaluation.json"] = Evaluation((), Evaluation.from_json(files["evaluation.json"]).classes, ()).to_json()
    page = render_report(files, {}, LINEAGE, longest_side=8).decode()
    assert "No correction is in force: the file answers as its root does." in page
    assert "<form" not in page


def test_the_first_thing_that_is_said_is_what_holds_what_broke_and_what_was_not_passed() -> None:
    files, pictures = a_release()
    page = render_report(files, pictures, LINEAGE, longest_side=8).decode()
    tiles = page[page.index('<div class="tiles">') : page.index("<nav")]
    assert tiles.count("<a href=") == 4
    assert "2 broke</b><span>and 1 came right, of 500 other images" in tiles
    assert "error on the 5 images of the gate split" in tiles
    assert f">1 of {len(REQUIRED['edit'])}</b>" in tiles, "only drawdown was measured and is within its limit"
    assert "not generalization, accuracy, boundary flips and " in tiles


@pytest.mark.slow
def test_many_corrections_with_hostile_names_on_a_phone(tmp_path: Path) -> None:
    files, pictures = a_release(300)
    page, names = tmp_path / "page.html", sorted(pictures)
    page.write_bytes(render_report(files, pictures, LINEAGE, longest_side=8))
    with start_browser(tmp_path / "profile") as browser:
        browser.open(page, 360, 800)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 360
        assert shown(browser) == SHOWN_FIRST
        assert browser.evaluate("document.querySelector('.corrections b, .corrections .now').tagName") == "BDI"
        width = "document.querySelector('#classes .name').getBoundingClientRect().width"
        assert browser.evaluate(width) > 200, "a long name has the line to itself"
        assert browser.evaluate("document.querySelector('.corrections .now').getBoundingClientRect().height") < 100
        assert browser.evaluate("document.querySelectorAll('.corrections .now')[9].title") == HOSTILE
        browser.evaluate("document.querySelector('#filter input').focus()")
        browser.press(names[250][:4])
        browser.wait_for("document.querySelector('#filter output').textContent === '1 of 300'")
        browser.evaluate("document.querySelector('#filter').reset()")
        browser.evaluate(f"location.hash = '{names[299][:12]}'")
        browser.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
        browser.wait_for("document.querySelector('#filter output').textContent === '300 of 300'")
        browser.open(page, 360, 801)
        browser.evaluate("document.querySelector('#filter button').click()")
        assert shown(browser) == 300
        assert not browser.evaluate("document.querySelector('#filter button').checkVisibility()")
        assert browser.console() == []
