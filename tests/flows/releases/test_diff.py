"""Two releases side by side: what is said of them is what their files do."""

import json
from dataclasses import replace

from typer.testing import CliRunner

from errata.data.releases.manifest import read_manifest, read_model
from errata.data.splits import load_split
from errata.editing.onnx.classifier import OnnxClassifier
from errata.flows.cli.app import app
from errata.flows.night.run import run_night
from errata.flows.releases.diff import ChangedPrediction, ReleaseDiff, diff_releases
from errata.flows.releases.diff_page import diff_page
from tests.flows.conftest import Place


def test_what_came_what_was_measured_and_what_changed(quick: Place) -> None:
    reports = quick.report_mistakes(2)
    assert run_night(quick.night()).version == 2
    found = diff_releases(quick.storage, quick.workspace, 1, 2)
    assert found.same_root
    assert {report for each in found.added for report in each.reports} == {each.id for each in reports}
    assert found.removed == ()
    assert set(found.pictures) == {each.id for each in found.added}
    measured = {each.name: (each.first, each.second) for each in found.criteria}
    assert measured["corrections_hold"][1] == 1.0
    test = load_split(quick.workspace.splits, "test")
    files = [OnnxClassifier(read_model(quick.storage, read_manifest(quick.storage, each))) for each in (1, 2)]
    one, two = (file.predict(test.images).logits.argmax(1) for file in files)
    assert found.images == len(test)
    assert {(each.index, each.first, each.second) for each in found.changed} == {
        (index, str(one[index]), str(two[index])) for index in (one != two).nonzero()[0]
    }
    back = diff_releases(quick.storage, quick.workspace, 2, 1)
    assert (back.removed, back.added) == (found.added, ())
    command = ["diff", "1", "2", "--store", quick.storage.url, "--json"]
    page = quick.folder / "changed.html"
    done = CliRunner().invoke(
        app, [*command, "--out", str(page)], env={"ERRATA_WORKSPACE": str(quick.workspace.folder)}
    )
    said = json.loads(done.stdout)
    assert [each["id"] for each in said["added"]] == [each.id for each in found.added]
    text = page.read_text()
    assert text.count("data:image/png") == len(found.added) + len(found.changed)


def test_a_change_is_mended_broken_or_neither() -> None:
    image = ChangedPrediction(3, "cat", "dog", "cat", b"")
    assert image.change == "mended"
    assert replace(image, first="cat", second="dog").change == "broken"
    assert replace(image, second="cow").change == "wrong both times"
    found = ReleaseDiff(1, 2, False, (), (), (), 9, (image, replace(image, first="cat", second="dog")), {})
    assert (found.count("mended"), found.count("broken"), found.count("wrong both times")) == (1, 1, 0)
    shown = replace(found, changed=())
    assert b"another root" in diff_page(shown)
