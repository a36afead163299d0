"""The release report: true to its inputs, self-contained, and readable in a real browser at a desk and on a phone."""

import base64
import hashlib
import io
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from errata.data import layout
from errata.data.images import encode_png
from errata.data.releases.edit_record import EditRecord, SlotRecord
from errata.data.releases.evaluation import CorrectionOutcome, Evaluation, FlippedImage, Flips
from errata.data.releases.ledger import Correction, Ledger
from errata.data.reports import make_report
from errata.data.storage.local import LocalStorage
from errata.editing.errors import DataError
from errata.flows.gate.criterion import REQUIRED, Criterion, GateResult
from errata.flows.gate.measurements import CriterionRow, ErrorRates, GateMeasurements, SplitErrors
from errata.flows.releases.contents.cards import Beside, Known
from errata.flows.releases.contents.criteria import bars, criterion_bar, decision, room
from errata.flows.releases.contents.history import HistoryPoint, history_chart
from errata.flows.releases.contents.pictures import grid, share, thumbnail
from errata.flows.releases.contents.report import picture_links, render_report
from errata.flows.stages.outcomes import class_outcomes, slot_outcomes
from tests.browser import Browser, start_browser

HOSTILE = '<script>alert("x")</script> & "a very long class name that nobody would choose"'


def a_release(
    corrections: int = 30, side: int = 8, broken: int = 1, restored: int = -1
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Files and embedded pictures of a release with hostile class names, a failing and an unmeasured criterion.

    Slot 3 broke two of 500 test images, and slot 4 mended one.
    """
    rng = np.random.default_rng(0)
    names = [f"{index:04x}".ljust(64, "0") for index in range(1, corrections + 1)]
    classes = ("cat", HOSTILE)
    ledger = Ledger(7, tuple(Correction(name, HOSTILE, (f"report {name}",)) for name in names))
    found = tuple(
        CorrectionOutcome(
            name,
            HOSTILE,
            HOSTILE if row == restored else "cat",
            0.75,
            "cat" if row < broken else HOSTILE,
            0.875,
            row,
            6,
            8,
            wrong_views=(1, 7),
        )
        for row, name in enumerate(names)
    )
    labels, before = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0])
    after = np.array([1, 0, 1, 1, 0])
    flipped = tuple(
        FlippedImage(index, "cat", was, now, slot, -1)
        for index, was, now, slot in ((5, "cat", HOSTILE, 3), (6, HOSTILE, "cat", 4), (9, "cat", HOSTILE, 3))
    )
    evaluation = Evaluation(
        found,
        class_outcomes(labels, before, after, classes),
        slot_outcomes(np.array([-1, 3, 3])),
        test=Flips(500, flipped),
    )
    criteria = [
        Criterion("accuracy", 0.6, 0.5, 0.85, "at least", 5),
        Criterion("drawdown", -0.01, 0.01, 0.02, "at most", 5),
        Criterion("generalization", math.nan, math.nan, 0.5, "at least", 5),
    ]
    measured = GateMeasurements(
        kind="edit",
        version=7,
        splits="5" * 64,
        model="e" * 64,
        corrections=corrections,
        criteria={each.name: CriterionRow.of(each) for each in criteria},
        error=SplitErrors(ErrorRates(0.6, 0.4), ErrorRates(0.5, 0.5)),
        confidence=0.975,
    )
    slots = (SlotRecord(name, row, 1.5, 0.01 * (row == 5), separated=True) for row, name in enumerate(names))
    edited = EditRecord(success=True, steps=1, reason="", holds={}, slots=tuple(slots))
    files = {
        "gate.json": measured.to_json(),
        "edit.json": edited.to_json(),
        "evaluation.json": evaluation.to_json(),
        "ledger.jsonl": ledger.to_jsonl().encode(),
    }
    return files, {name: thumbnail(encode_png(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))) for name in names}


LINEAGE = [("root model", "a" * 64), ("model.onnx", "b" * 64)]


def test_classes_are_counted_by_hand() -> None:
    """Class 0: one becomes wrong, one becomes right; class 1: one stays right, one mends, one stays wrong."""
    labels, before, after = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0]), np.array([1, 0, 1, 1, 0])
    zero, one = class_outcomes(labels, before, after, ("a", "b", "never seen"))
    assert (zero.n, zero.right_before, zero.right_after, zero.negative_flips, zero.positive_flips) == (2, 1, 1, 1, 1)
    assert (one.n, one.right_before, one.right_after, one.negative_flips, one.positive_flips) == (3, 1, 2, 0, 1)
    assert Evaluation((), (zero, one), slot_outcomes(np.array([-1, 4, -1, 2, 4]))).decided == {2: 1, 4: 2}


@pytest.mark.parametrize(
    "criterion",
    [
        Criterion("accuracy", 0.9, 0.88, 0.85, "at least", 10),
        Criterion("drawdown", -0.05, 0.01, 0.02, "at most", 10),
        Criterion("negative_flips", 0.5, 0.6, 0.02, "at most", 10),
        Criterion("corrections_hold", 1.0, 1.0, 1.0, "at least", 10),
        Criterion("parity", math.inf, math.nan, 0.001, "at most", 10),
    ],
)
def test_bars_keep_order_and_stay_on_their_track(criterion: Criterion) -> None:
    bar = criterion_bar(criterion)
    placed = {criterion.limit: bar.mark, 0.0: bar.start}
    if math.isfinite(criterion.value):
        assert bar.fill is not None
        left, width = bar.fill
        placed[criterion.value] = left if criterion.value < 0 else left + width
    else:
        assert (bar.fill, bar.row.value, bar.row.verdict) == (None, "not measured", "inconclusive")
    places = [placed[value] for value in sorted(placed)]
    assert all(place is not None and 0 <= place <= 100 for place in places)
    assert places == sorted(places)  # type: ignore[type-var]


def test_criteria_are_ordered_by_the_room_that_is_left() -> None:
    rows = [
        Criterion("reach", 0.0, 0.03, 0.30, "at most", 10),  # 0.9 of 0.30 is left
        Criterion("accuracy", 0.9, 0.88, 0.84, "at least", 10),  # 0.04 of 0.16
        Criterion("corrections_hold", 1.0, 1.0, 1.0, "at least", 10),
        Criterion("drawdown", -0.05, 0.01, 0.02, "at most", 10),  # half
        Criterion("trigger", math.nan, math.nan, 0.3, "at most", 0, "no corrections share a mark"),
    ]
    assert [(bar.row.name, bar.room and round(bar.room, 6)) for bar in bars(rows)] == [
        ("accuracy", 0.25),
        ("drawdown", 0.5),
        ("reach", 0.9),
        ("corrections hold", None),
        ("trigger", None),
    ]
    assert room(Criterion("kind_drawdown", -0.6, -0.4, 0.03, "at most", 10)) == 1.0
    worse = [
        *rows,
        Criterion("negative_flips", 0.01, 0.05, 0.04, "at most", 10),
        Criterion("parity", 2, 2, 1, "at most", 9),
    ]
    assert [bar.row.name for bar in bars(worse)][:3] == ["parity", "negative flips", "accuracy"]
    names = {"accuracy", "reach", "drawdown", "corrections_hold", "trigger"}
    whole = GateResult("edit", (*rows, *(Criterion(n, 0, 0, 1, "at most", 9) for n in REQUIRED["edit"] - names)))
    assert "each of 10 criteria" in decision(whole)  # of 11 one does not apply
    assert "accuracy 25%, drawdown 50%, reach 90%" in decision(whole)
    assert decision(GateResult("edit", tuple(worse))).startswith(
        "The gate says no: the candidate fails parity and is inconclusive on negative flips; boundary flips, "
    )


def test_a_thumbnail_is_the_image_as_large_as_may_be() -> None:
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    kind, _, content = thumbnail(encode_png(small)).partition(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(content) == encode_png(small)
    assert (np.array(Image.open(io.BytesIO(base64.b64decode(content)))) == small[:, :, 0]).all()
    photo = encode_png(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8))  # noise: the hardest there is
    sides = []
    for most in (100_000, 8_000, 1_400):
        kind, _, content = thumbnail(photo, most).partition(";base64,")
        assert kind == "data:image/webp"
        assert len(content) <= most
        sides.append(Image.open(io.BytesIO(base64.b64decode(content))).size)
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == (200, 300)
    views = rng.integers(1, 256, (6, 8, 8, 1), dtype=np.uint8)
    side_by_side = np.array(Image.open(io.BytesIO(base64.b64decode(grid(views, 10_000).partition(",")[2]))))
    assert (side_by_side[8:, 8:16] == views[5, :, :, 0]).all()
    assert (side_by_side[8:, 16:] == 0).all()


def test_the_page_needs_nothing_and_says_what_is_so() -> None:
    files, pictures = a_release()
    page = render_report(files, pictures, LINEAGE, longest_side=8).decode()
    assert page == render_report(files, pictures, LINEAGE, longest_side=8).decode()
    assert page.count("<script") == 1  # ours, and no class name's
    assert "&lt;script&gt;" in page
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in unescape(page)
    assert "unsafe" not in page and 'style="' not in page
    for link in re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", page):
        assert link.startswith(("data:", "#")), link
    assert ">29 of 30</b><span>corrections hold in the file that ships, from 30 reports<" in page
    assert "not measured" in page
    assert '>50.00%</td><td data-of="limit">at least 85.00%</td>' in page
    assert "<th>bound (97.5%)</th>" in page
    assert re.search(r"negative flips, .* were not computed", page)
    assert "should be" in page
    assert "Drawdown over releases" not in page
    for name, digest in LINEAGE:
        assert f"<b>{name}</b><code>{digest}</code>" in page
    del files["evaluation.json"]
    with pytest.raises(DataError, match=r"evaluation\.json"):
        render_report(files, pictures, LINEAGE, longest_side=8)


def test_a_bundles_page_holds_no_picture_but_says_where_each_is() -> None:
    files, pictures = a_release()
    ledger = Ledger.from_jsonl(files["ledger.jsonl"].decode())
    page = render_report(files, picture_links(ledger), LINEAGE, longest_side=8).decode()
    assert "data:image" not in page
    assert sorted(re.findall(r'<img src="([^"]+)"', page)) == [f"../../corrections/{name}.png" for name in pictures]
    erased = min(pictures)
    del pictures[erased]
    page = render_report(files, pictures, LINEAGE, longest_side=8).decode()
    assert page.count("<img") == 29
    assert page.count('<p class="small">erased</p>') == 1


def test_history_is_drawn_on_demand_only() -> None:
    history = [
        HistoryPoint(1, 0, 0.04, 0.04),
        HistoryPoint(2, 9, 0.04, 0.05),
        HistoryPoint(3, 12, 0.04, 0.03, live=True),
    ]
    chart = history_chart(history)
    assert chart is not None
    heights = [point["y"] for point in chart["points"]]
    assert heights[0] == chart["zero"]
    assert heights[1] < heights[0] < heights[2]  # a screen's y grows downwards
    assert history_chart(history[:1]) is None
    files, pictures = a_release()
    assert "+1.00%" in render_report(files, pictures, LINEAGE, Known(history), longest_side=40).decode()


def test_what_broke_beside_the_corrections_is_shown_with_what_did_it() -> None:
    files, pictures = a_release(restored=7)
    names = sorted(pictures)
    requests = Beside(
        "other requests of the day", Flips(40, (FlippedImage(2, "cat", "cat", HOSTILE, 3, -1),)), {2: "data:,two"}
    )
    page = render_report(
        files, pictures, LINEAGE, Known(tests={9: "data:,nine"}, requests=requests), longest_side=8
    ).decode()
    assert "2 broke and 1 came right, of 500 images of the test split" in page
    assert "1 broke and 0 came right, of 40 other requests of the day" in page
    assert page.count(f'by <a href="#{names[3][:12]}">slot 3</a>') == 3
    assert page.count("data:,nine") == page.count("data:,two") == 1
    (guilty,) = re.findall(r"broke (\d+) beside it", page)
    assert guilty == "3"
    first, second = (page.index(f'<li id="{name[:12]}"') for name in (names[0], names[7]))
    assert first < second, "what does not hold comes first, then what the root had right"
    assert page.count("the root had it right") == 1
    assert "come first. The root had 1 of them right" in " ".join(page.split())
    assert "its unseen views" not in page


def test_who_said_so_is_told_on_demand_only() -> None:
    files, pictures = a_release()
    name = sorted(pictures)[2]
    report = make_report(b"an image", "cat", reporter=HOSTILE, note="</code><img src=x>")
    known = Known(reports={f"report {name}": report}, doubts={name: 0.0123}, views={name: "data:,views"})
    page = render_report(files, pictures, LINEAGE, known, longest_side=8).decode()
    (card,) = re.findall(f'<li id="{name[:12]}".*?</li>', page, re.DOTALL)
    assert "doubt 1.2%" in card and report.filed_at.strftime("%d %b %Y") in card and "&lt;/code&gt;" in card
    assert card.count("<rect") == 2  # the views 1 and 7
    assert "<img src=x" not in page


def test_a_thousand_photos_stay_below_three_megabytes() -> None:
    files, _ = a_release(1000)
    rng = np.random.default_rng(0)
    content = encode_png(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))  # noise: the hardest there is
    picture = thumbnail(content, share(1000))
    names = [each.id for each in Ledger.from_jsonl(files["ledger.jsonl"].decode()).corrections]
    reports = {
        f"report {name}": make_report(name.encode(), "cat", reporter="somebody", note="a note") for name in names
    }
    known = Known(reports=reports, doubts=dict.fromkeys(names, 0.01))
    assert len(render_report(files, dict.fromkeys(names, picture), LINEAGE, known, longest_side=224)) < 3_000_000


def shown(browser: Browser) -> int:
    """How many corrections can be seen."""
    count = "[...document.querySelectorAll('.corrections > li')].filter(card => card.offsetParent !== null).length"
    return int(browser.evaluate(count))


SCROLLS = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth).length"
# pairs of labels of the chart that lie upon each other, of those that can be seen
COLLIDE = """(() => {
  const boxes = [...document.querySelectorAll('.chart text')].map(each => each.getBoundingClientRect());
  const seen = boxes.filter(each => each.width);
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  return seen.flatMap((a, i) => seen.slice(i + 1).filter(b => meet(a, b))).length;
})()"""


@pytest.mark.slow
def test_in_a_real_browser_at_a_desk_and_on_a_phone(tmp_path: Path) -> None:
    files, pictures = a_release(side=40)
    history = [HistoryPoint(version, 9, 0.04, 0.04 + 0.001 * version, version == 40) for version in range(1, 41)]
    store = LocalStorage(tmp_path / "store")
    for name, picture in pictures.items():
        store.put_once(layout.correction_image(name), base64.b64decode(picture.partition(",")[2]))
    links = picture_links(Ledger.from_jsonl(files["ledger.jsonl"].decode()))
    key = layout.release_file(7, layout.REPORT)
    store.put_once(key, render_report(files, links, LINEAGE, Known(history), longest_side=40))
    page = Path(store.url) / key
    colours = []
    with start_browser(tmp_path / "profile") as browser:
        for width, scheme in ((1200, "light"), (360, "dark")):
            browser.open(page, width, 800, scheme)
            assert browser.console() == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate("document.querySelectorAll('.corrections > li').length") == 30
            assert browser.evaluate("document.images[0].complete && document.images[0].naturalWidth") == 40
            browser.evaluate("document.querySelector('#filter select').focus()")
            assert shown(browser) == 30
            browser.evaluate("document.querySelector('#filter select').value = 'broken'")
            browser.evaluate("document.querySelector('#filter').dispatchEvent(new Event('input'))")
            assert shown(browser) == 1
            browser.evaluate("location.hash = document.querySelectorAll('.corrections > li')[5].id")
            browser.wait_for("document.querySelector('#filter output').textContent === '30 of 30'")
            browser.evaluate("document.querySelector('#filter input').focus()")
            browser.press("000a0")
            assert shown(browser) == 1
            assert browser.evaluate(SCROLLS) == 0
            assert browser.evaluate(COLLIDE) == 0
            assert browser.evaluate("document.querySelector('.chart .value').getBoundingClientRect().height") > 10
            colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert len(browser.screenshot()) > 10_000
    assert colours[0] != colours[1]
