"""The night, end to end on the real parts: DVC, the editor, ONNX Runtime, the local store."""

import base64
import hashlib
import json
import shutil

import pytest

from errata.data import layout
from errata.data.images import encode_png, fit_image, pixel_digest
from errata.data.inbox.quarantine import quarantined
from errata.data.inbox.refusals import Reason
from errata.data.releases.evaluation import Evaluation
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import Manifest, read_file, read_manifest, read_model, verify_bundle
from errata.data.reports import Report, make_report, put_report
from errata.data.splits import load_split
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.night.run import run_night
from errata.flows.releases.page import release_page
from errata.flows.stages.export import export
from tests.flows.conftest import Place


def tells_who_on_demand_only(place: Place, manifest: Manifest, shown: str, page: str, report: Report) -> None:
    """Who said so is on the page made on demand, with the night's doubt, and so are the test images that turned."""
    evaluation = Evaluation.from_json(read_file(place.storage, manifest, "evaluation.json"))
    assert evaluation.test is not None
    assert evaluation.test.images == len(load_split(place.workspace.splits, "test"))
    turned = len(evaluation.test.flipped)
    assert (page.count('alt="image '), shown.count('alt="image ')) == (turned, 0)
    assert ("doubt" in page, "doubt" in shown) == (True, False)
    who = f"<bdi>{report.reporter}</bdi>, {report.filed_at:%d %b %Y}"
    assert (who in page, who in shown) == (True, False)


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_reports_become_a_release_and_a_second_night_finds_nothing_to_do(place: Place) -> None:
    reports = place.report_mistakes()
    assert reports, "the root makes no mistakes on the traffic split: the test has nothing to correct"
    summary = run_night(place.night())
    assert summary.outcome == "released", summary.sentence
    # the editor may fail on one or the other: those wait, and hold up nobody
    waiting = {report for each in summary.deferred for report in each.reports}
    assert len(waiting) < len(reports) / 2
    stuck = set(summary.without_slot)  # in the ledger, and no slot can hold them
    assert len(stuck) < len(reports) / 4
    assert (summary.version, summary.reports) == (2, len(reports))
    assert summary.in_force == len(reports) - len(waiting) - len(stuck)

    # every reported image, looked at afresh in the shipped file
    manifest = read_manifest(place.storage, 2)
    shipped = OnnxClassifier(read_model(place.storage, manifest))
    traffic = load_split(place.workspace.splits, "traffic")
    evidence = {hashlib.sha256(encode_png(image)).hexdigest(): image for image in traffic.images}
    for report in reports:
        if report.id in waiting or pixel_digest(evidence[report.image]) in stuck:
            continue
        logits = shipped.predict(evidence[report.image][None]).logits
        assert traffic.classes[int(logits.argmax())] == report.expected

    # the manifest tells the truth, and the reports are where the layout says
    assert verify_bundle(place.storage, 2) == ()
    ledger = Ledger.from_jsonl(read_file(place.storage, manifest, "ledger.jsonl").decode())
    assert {name for each in ledger.corrections for name in each.reports} == {report.id for report in reports} - waiting
    assert {layout.stem(key) for key in place.storage.keys(layout.INBOX)} == waiting
    settled = {layout.stem(key) for key in place.storage.keys(f"{layout.SETTLED}2/")}
    assert settled == {report.id for report in reports}

    # the report shows each of them, and the page on demand has the history too
    shown = read_file(place.storage, manifest, "report.html").decode()
    assert all(each.id[:12] in shown for each in ledger.corrections)
    assert f">{len(reports) - len(stuck)} of {len(reports)}</b><span>corrections hold" in shown
    assert f"<code>{manifest.files[layout.model_file(2)].sha256}</code>" in shown
    page = release_page(place.storage, workspace=place.workspace).decode()
    assert "Drawdown over releases" in page
    assert "Drawdown over releases" not in shown

    # a correction's image was encoded once: the stages and the page have the very file that the store has
    for each in ledger.corrections:
        stored = place.storage.get(layout.correction_image(each.id))
        assert (place.workspace.ledger / "images" / f"{each.id}.png").read_bytes() == stored
        assert f'src="../../{layout.correction_image(each.id)}"' in shown
        assert base64.b64encode(stored).decode() not in shown
        assert base64.b64encode(stored).decode() in page
    assert "<th>bound (95%)</th>" in shown  # at the confidence of params.yaml

    tells_who_on_demand_only(place, manifest, shown, page, reports[0])

    # what ships does not depend on those images any more: `export` reads the ledger alone
    exported = (place.workspace.onnx / "model.onnx").read_bytes()
    shutil.rmtree(place.workspace.ledger / "images")
    (place.workspace.onnx / "model.onnx").unlink()
    export(place.workspace)
    assert (place.workspace.onnx / "model.onnx").read_bytes() == exported

    again = run_night(place.night())
    assert (again.outcome, again.version, again.reports) == ("nothing to correct", 2, 0)
    assert [json.loads(place.storage.get(key))["version"] for key in place.storage.keys(layout.LOG)] == [1, 2]


def test_bad_reports_are_quarantined_with_their_reason_and_hold_up_nobody(quick: Place) -> None:
    storage = quick.storage
    (good,) = quick.report_mistakes(1)
    png = encode_png(fit_image(load_split(quick.workspace.splits, "traffic").images[0], (8, 8, 1)))
    bad = {
        Reason.UNKNOWN_CLASS: put_report(storage, make_report(png, "eleven"), png).id,
        Reason.UNDECODABLE_IMAGE: put_report(storage, make_report(png[:40], "1"), png[:40]).id,
    }
    missing = make_report(b"never stored", "1")
    storage.put_once(layout.inbox_report(missing.id), missing.to_json())
    bad[Reason.MISSING_IMAGE] = missing.id
    other = make_report(b"what was reported", "1")
    storage.put_once(layout.image(other.image), b"something else")
    storage.put_once(layout.inbox_report(other.id), other.to_json())
    bad[Reason.DIGEST_MISMATCH] = other.id
    storage.put_once(layout.inbox_report("0" * 64), b"{not json")
    bad[Reason.MALFORMED] = "0" * 64
    text = put_report(storage, make_report(b"plain text, no image", "2"), b"plain text, no image").id

    summary = run_night(quick.night())
    assert (summary.outcome, summary.version, summary.in_force) == ("released", 2, 1)
    kept = {each.id: each for each in quarantined(storage)}
    assert {identity: kept[identity].reason for identity in bad.values()} == {v: k for k, v in bad.items()}
    assert kept[text].reason == Reason.UNDECODABLE_IMAGE
    assert kept["0" * 64].content == b"{not json"
    assert list(storage.keys(layout.INBOX)) == []
    assert [layout.stem(key) for key in storage.keys(f"{layout.SETTLED}2/")] == [good.id]
