"""A person's photo is erased: nothing of it is left, lineage verifies, and it does not come back."""

import base64
import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from errata.data import layout
from errata.data.images import decode_image, encode_png, pixel_digest
from errata.data.inbox.quarantine import quarantined
from errata.data.inbox.refusals import Reason
from errata.data.releases.erasure import erasures, outcome_of
from errata.data.releases.kind_inputs import label_image, stored_inputs, write_inputs
from errata.data.releases.ledger import Ledger
from errata.data.releases.manifest import read_live, read_manifest, verify_bundle
from errata.data.releases.removal import removal_of
from errata.data.reports import Report, file_report
from errata.data.splits import load_split
from errata.data.storage.base import Storage
from errata.data.storage.local import LocalStorage
from errata.editing.errors import DataError, NightError, Removed, Superseded
from errata.flows.night.erase import ErasureOutcome, erase, plan_erasure
from errata.flows.night.new_root import train_new_root
from errata.flows.night.parent import keep_taught_root
from errata.flows.night.run import run_night
from errata.flows.night.step import run_here
from errata.flows.releases.page import release_page
from errata.flows.releases.pointer import log_entries, released_digest, require_live
from errata.flows.releases.retraction import reinstate
from errata.flows.releases.rollback import rollback
from tests.conftest import NewStore
from tests.flows.conftest import Place, duplicate, expect_little, play
from tests.flows.night.faults import Watched, before
from tests.flows.night.test_new_root import learn_everything, training
from tests.flows.releases.test_retraction import in_force


def erased(place: Place, name: str = "", content: bytes = b"", storage: Storage | None = None) -> ErasureOutcome:
    """Erase, as the command does."""
    night = replace(place.night(), storage=storage or place.storage)
    return erase(night, plan_erasure(night.storage, name=name, content=content, by="ada", why="they asked"))


def all_bytes(place: Place) -> dict[str, bytes]:
    """Every object in the store and every file in the workspace."""
    found = {key: place.storage.get(key) for key in place.storage.keys("")}
    files = (path for path in place.workspace.folder.rglob("*") if path.is_file())
    return found | {str(path): path.read_bytes() for path in files}


def traces(place: Place, photo: bytes) -> list[str]:
    """Where the photo is: its bytes, the picture at the model's input size, either as a data URI."""
    small = encode_png(decode_image(photo)[:, :, :1])
    looked_for = [photo, small, base64.b64encode(photo)[:-4], base64.b64encode(small)[:-4]]
    return [name for name, content in all_bytes(place).items() if any(each in content for each in looked_for)]


@pytest.fixture(scope="session")
def _corrected(
    _released: Place, _unsolvable: frozenset[int], _solved: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Place, list[Report]]:
    folder = tmp_path_factory.mktemp("corrected")
    shutil.copytree(_released.folder, folder, symlinks=True, dirs_exist_ok=True)
    place = Place(folder, _unsolvable)
    expect_little(place.workspace)
    with pytest.MonkeyPatch.context() as patch:
        play(patch, _solved)
        reports = place.report_mistakes(2)
        assert run_night(place.night()).version == 2
        reports += place.report_mistakes(1)
        assert run_night(place.night()).version == 3
    return place, reports


@pytest.fixture
def corrected(
    _corrected: tuple[Place, list[Report]], played: None, new_store: NewStore, tmp_path: Path
) -> tuple[Place, list[Report]]:
    """Release 2 corrects two photos, release 3 a third one."""
    before, reports = _corrected
    return before.beside(tmp_path / "corrected", duplicate(before.storage, new_store())), reports


def test_nothing_of_it_is_left_and_all_else_verifies(corrected: tuple[Place, list[Report]]) -> None:
    place, reports = corrected
    storage, gone = place.storage, reports[0]
    photo = storage.get(layout.image(gone.image))
    before = in_force(place)
    assert {name.split("/")[0] for name in traces(place, photo) if "/" in name} >= {"images", "corrections"}
    kept = place.workspace.features / "of its views"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.touch()
    done = erased(place, gone.id[:16])
    assert done.erased is not None
    assert not kept.exists()
    assert (done.erased.version, done.erased.taught) == (4, ())
    assert traces(place, photo) == []
    [identity] = done.erasure.identities
    assert in_force(place) == {name: value for name, value in before.items() if name != identity}
    assert not [key for key in storage.keys("reports/") if layout.stem(key) == gone.id]
    for version in (1, 2, 3, 4):
        digest, removal = released_digest(storage, version), removal_of(storage, version)
        assert verify_bundle(storage, version, digest, removal.files if removal else None) == ()
        weights = {layout.model_file(version), layout.DELTA, layout.REPORT}
        assert set(removal.files if removal else ()) == (weights if version in (2, 3) else set())
        if removal:
            assert set(verify_bundle(storage, version, digest)) == {f"missing: {name}" for name in weights}
    assert [each.action for each in log_entries(storage)][-2:] == ["erased", "released"]
    with pytest.raises(DataError, match="erased already"):
        plan_erasure(storage, name=gone.id, by="ada", why="again")


def test_nobody_goes_back_to_a_release_that_holds_it(corrected: tuple[Place, list[Report]]) -> None:
    place, reports = corrected
    erased(place, reports[2].image)  # release 3 alone holds it
    with pytest.raises(Removed, match=r"release 3 was erased.*`errata rollback 2`"):
        rollback(place.storage, by="me", why="complaints")
    with pytest.raises(Removed, match="of release 3 were erased"):
        release_page(place.storage, 3)
    assert rollback(place.storage, 2, by="me", why="complaints").live.version == 2


def test_where_the_gate_says_no_the_pictures_are_gone_and_the_same_command_goes_on(
    corrected: tuple[Place, list[Report]],
) -> None:
    place, reports = corrected
    photo = place.storage.get(layout.image(reports[0].image))
    params = place.workspace.folder / "params.yaml"
    before = params.read_bytes()
    asked = yaml.safe_load(before)
    asked["gate"]["accuracy"] = 1.0
    params.write_text(yaml.safe_dump(asked))
    done = erased(place, reports[0].id)
    assert done.erased is None
    assert done.night is not None
    assert (done.night.outcome, done.night.version) == ("not released", 3)
    assert traces(place, photo) == []
    assert release_page(place.storage).decode().count('<p class="small">erased</p>') == 1
    params.write_bytes(before)
    done = erased(place, reports[0].id)
    assert done.erased is not None
    assert done.erased.version == 4
    assert [each.number for each in erasures(place.storage)] == [1]


def test_it_is_not_taken_again_however_it_is_encoded(corrected: tuple[Place, list[Report]]) -> None:
    place, reports = corrected
    photo = place.storage.get(layout.image(reports[0].image))
    [identity] = erased(place, content=photo).erasure.identities
    again = io.BytesIO()
    Image.fromarray(decode_image(photo)).save(again, "BMP")
    for content in (photo, again.getvalue()):
        file_report(place.storage, content, reports[0].expected, reporter="somebody else")
    summary = run_night(place.night())
    assert [each.reason for each in summary.refused] == [Reason.ERASED] * 2
    assert identity not in in_force(place)
    assert len(list(quarantined(place.storage))) == 2
    with pytest.raises(NightError, match="was erased"):
        reinstate(place.storage, identity, by="me", why="it was right")


def test_copies_and_claims_that_wait_go_too(quick: Place) -> None:
    """No release knows the photo: no night is needed, and none is made."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    photo, copy = encode_png(pixels), io.BytesIO()
    Image.fromarray(pixels).save(copy, "BMP")
    waiting = file_report(quick.storage, photo, "7")
    file_report(quick.storage, copy.getvalue(), "8", note="me, on the left")
    done = erased(quick, waiting.image[:20])
    assert (done.night, done.erased and done.erased.version) == (None, 1)
    assert len(done.erasure.images) == len(done.erasure.reports) == 2
    assert list(quick.storage.keys(layout.IMAGES)) == list(quick.storage.keys("reports/")) == []


def test_a_photo_that_was_only_labelled_goes_too_and_is_not_labelled_again(
    corrected: tuple[Place, list[Report]],
) -> None:
    place, _ = corrected
    pixels = load_split(place.workspace.splits, "test").images[0]  # nobody ever reported it
    photo, identity = encode_png(pixels), pixel_digest(pixels)
    label_image(place.storage, identity, pixels, "3", "ada")
    write_inputs(place.storage, place.workspace.ledger, stored_inputs(place.storage))
    assert len(traces(place, photo)) == 2  # in the store and in the workspace
    done = erased(place, content=photo)
    assert done.erased is not None
    assert traces(place, photo) == []
    assert list(place.storage.keys(layout.LABELLED)) == []
    with pytest.raises(DataError, match="was erased"):
        label_image(place.storage, identity, pixels, "3", "ada")


def test_a_name_must_mean_one_photo(corrected: tuple[Place, list[Report]]) -> None:
    place, _ = corrected
    for name in ("", "zz"):
        with pytest.raises(DataError, match="no photo"):
            plan_erasure(place.storage, name=name, by="ada", why="")
    with pytest.raises(DataError, match="no photo"):
        plan_erasure(place.storage, content=b"no image", by="ada", why="")


def test_a_page_of_an_older_version_that_embeds_the_picture_goes_and_the_proof_has_its_digest(
    corrected: tuple[Place, list[Report]],
) -> None:
    place, reports = corrected
    erased(place, reports[0].id)
    removal = removal_of(place.storage, 2)
    assert removal is not None
    assert (removal.cause, removal.by, removal.why, removal.erasure) == ("erased", "ada", "they asked", 1)
    assert len(removal.files[layout.REPORT]) == hashlib.sha256().digest_size * 2


def test_a_root_that_learned_from_it_is_named_and_nights_go_on_until_there_is_another(
    corrected: tuple[Place, list[Report]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, reports = corrected
    photo = place.storage.get(layout.image(reports[0].image))
    with monkeypatch.context() as patch:
        training(patch, learn_everything)
        assert train_new_root(place.night()).version == 4
    done = erased(place, reports[0].id)
    assert done.night is None  # no slot of the live release holds it
    assert done.erased is not None
    assert (done.erased.version, done.erased.taught) == (4, (4,))
    assert traces(place, photo) == []
    shutil.rmtree(place.workspace.replay)  # as in another workspace
    place.report_mistakes(1)
    assert run_night(place.night()).version == 5
    assert traces(place, photo) == []
    assert rollback(place.storage, 4, by="me", why="complaints").live.version == 4  # no worse than what is live
    training(monkeypatch, lambda _workspace: None)
    train_new_root(place.night())
    taught = Ledger.from_jsonl((place.workspace.replay / "ledger.jsonl").read_text())
    assert taught.corrections
    assert not {each.id for each in taught.corrections} & set(done.erasure.identities)


@pytest.mark.slow
def test_dvc_keeps_a_root_whose_replay_set_changed_unless_its_parameters_did(place: Place) -> None:
    live, _ = require_live(place.storage)
    manifest = read_manifest(place.storage, live.version, live.manifest_sha256)

    def trains_again() -> bool:
        said: list[str] = []
        place.workspace.dvc("status", "train", log=said.append)
        return any("changed deps" in line for line in said)

    assert not trains_again()
    (place.workspace.replay / "images").mkdir(exist_ok=True)
    (place.workspace.replay / "images" / "one.png").write_bytes(b"stands for one that went")
    assert trains_again()
    keep_taught_root(place.night(), manifest)
    assert not trains_again()
    params = yaml.safe_load(place.workspace.params_file)
    changed = yaml.safe_dump({**params, "seed": 7})
    (place.workspace.folder / "params.yaml").write_text(changed)
    keep_taught_root(place.night(), manifest)
    assert trains_again()


def kept(place: Place) -> list[str]:
    """Every object in the store, but for what each night calls after itself."""
    return [key for key in place.storage.keys("") if not key.startswith(layout.OBSERVATIONS)]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.slow
@pytest.mark.parametrize("new_store", ["local"], indirect=True)
def test_killed_before_each_change_it_goes_on_where_it_was(
    corrected: tuple[Place, list[Report]], tmp_path: Path
) -> None:
    place, reports = corrected
    gone, photo = reports[0], place.storage.get(layout.image(reports[0].image))
    changes: list[tuple[str, str]] = []

    def copied(name: str) -> Place:
        empty = LocalStorage(tmp_path / name / "store")
        return place.beside(tmp_path / name, duplicate(place.storage, empty))

    def noted(operation: str, key: str) -> None:
        if operation in ("put", "swap", "delete") and not key.startswith("probe/"):
            changes.append((operation, key))

    counted = copied("counted")
    expected = erased(counted, gone.id, storage=Watched(counted.storage, noted)).erasure
    kinds = {key.split("/")[0] for _, key in changes}
    assert kinds >= {"erased", "removed", "images", "corrections", "reports", "releases", layout.LIVE, "log"}
    night = [change for change in changes if change[0] != "delete" and change[1].startswith("releases/")]
    whole = kept(counted)
    for number, fatal in enumerate(change for change in changes if change not in night[1:]):

        def strike(operation: str, key: str, fatal: tuple[str, str] = fatal) -> None:
            if (operation, key) == fatal:
                raise Killed

        victim = copied(f"victim-{number}")
        with pytest.raises(Killed):
            erased(victim, gone.id, storage=Watched(victim.storage, strike))
        found = read_live(victim.storage)
        assert found is not None
        assert verify_bundle(victim.storage, found[0].version, found[0].manifest_sha256) == ()
        if fatal != changes[-1] or outcome_of(victim.storage, expected) is None:
            assert erased(victim, gone.id).erased is not None, fatal
        assert kept(victim) == whole, fatal
        assert traces(victim, photo) == [], fatal


def test_a_night_that_is_under_way_when_it_is_asked_does_not_release_it(
    corrected: tuple[Place, list[Report]], tmp_path: Path
) -> None:
    place, reports = corrected
    place.report_mistakes(1)
    sibling = place.beside(tmp_path / "sibling")
    with pytest.raises(Superseded, match="a photo was erased while the night worked with it"):
        run_night(place.night(), before("release", lambda: erased(sibling, reports[0].id)))
    assert run_night(place.night()).outcome == "nothing to correct"
    [erasure] = erasures(place.storage)
    assert not set(in_force(place)) & set(erasure.identities)


@pytest.mark.parametrize("moment", [layout.CORRECTIONS, "release", layout.release_file(4, "ledger.jsonl")])
def test_a_photo_that_no_release_holds_leaves_nothing_while_a_night_elsewhere_works_with_it(
    corrected: tuple[Place, list[Report]], tmp_path: Path, moment: str
) -> None:
    """The erasure has nothing more to do then, and ends; what the night puts into the store later it takes back."""
    place, _ = corrected
    [report] = place.report_mistakes(1)
    photo = place.storage.get(layout.image(report.image))
    sibling = place.beside(tmp_path / "sibling")
    done: list[ErasureOutcome] = []

    def strike(operation: str = "put", key: str = moment) -> None:
        if operation == "put" and key.startswith(moment) and not done:
            done.append(erased(sibling, report.id))

    night = replace(place.night(), storage=Watched(place.storage, strike))
    with pytest.raises(Superseded, match=r"erased while|meanwhile"):
        run_night(night, before("release", strike) if moment == "release" else run_here)
    assert done[0].erased is not None
    assert done[0].night is None
    assert [name for name in traces(place, photo) if not name.startswith("/")] == []
    assert not list(place.storage.keys(layout.release_file(4, "")))
    assert run_night(place.night()).outcome == "nothing to correct"
