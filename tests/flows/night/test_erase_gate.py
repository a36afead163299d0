"""A photo that judges, in a gate split that an operator added, is erased as any other, and what it judged verifies."""

from pathlib import Path

import numpy as np
import pytest

from errata.data import layout
from errata.data.datasets import LabelledImages
from errata.data.images import Pixels, encode_png, pixel_digest
from errata.data.releases.erasure import erasures
from errata.data.releases.manifest import verify_bundle
from errata.data.releases.removal import removal_of
from errata.data.splits import load_split, read_record
from errata.editing.errors import DataError, Removed
from errata.flows.night.control import add_gate
from errata.flows.night.run import run_night
from errata.flows.releases.pointer import released_digest
from errata.flows.releases.reproduce import reproduce
from errata.flows.releases.retention.remote import judging_objects
from tests.flows.conftest import Place
from tests.flows.night.test_control import noisy, write
from tests.flows.night.test_erase import all_bytes, erased


def unseen(place: Place, seed: int) -> LabelledImages:
    """Images of all classes that nobody ever saw."""
    return noisy(load_split(place.workspace.splits, "test"), seed)


def holding(place: Place, photo: Pixels) -> list[str]:
    """Where the photo's pixels are, as arrays hold them, or its file."""
    return [
        name for name, content in all_bytes(place).items() if photo.tobytes() in content or encode_png(photo) in content
    ]


@pytest.mark.slow
def test_it_leaves_the_split_that_judges_and_the_rest_judges_on(anywhere: Place, tmp_path: Path) -> None:
    place = anywhere
    images = unseen(place, 1)
    before = add_gate(place.night(), write(tmp_path / "new", [images])).digest
    photo = load_split(place.workspace.splits, "gate").images[5]
    assert {each.partition("/")[0] for each in holding(place, photo) if not each.startswith("/")} == {"gates"}
    done = erased(place, content=encode_png(photo))
    assert done.erased is not None
    assert done.night is None  # no weights hold it
    assert holding(place, photo) == []
    [replaced] = done.erasure.gates
    assert replaced.before == before
    assert list(place.storage.keys(layout.GATES)) == [layout.gate_images(replaced.after)]
    assert place.workspace.params.data.gates == (replaced.after,)
    assert read_record(place.workspace.splits).splits["gate"].sha256 == replaced.after
    left = {pixel_digest(each) for each in load_split(place.workspace.splits, "gate").images}
    assert left == {pixel_digest(each) for each in images.images} - set(done.erasure.identities)
    # looks go on where they were: what is left is no fresh split
    place.report_mistakes(1)
    summary = run_night(place.night())
    assert summary.gate_result is not None
    assert summary.gate_result.look == 1
    # the same photo cannot come back by the same way
    added = add_gate(place.night(), write(tmp_path / "again", [unseen(place, 2), images.take(np.arange(len(images)))]))
    assert added.left_out["erased"] == 1
    assert holding(place, photo) == []


@pytest.mark.slow
def test_another_workspace_is_told_what_to_name_and_loses_the_photo(quick: Place, tmp_path: Path) -> None:
    add_gate(quick.night(), write(tmp_path / "new", [unseen(quick, 1)]))
    other = quick.beside(tmp_path / "other")
    photo = load_split(quick.workspace.splits, "gate").images[0]
    [replaced] = erased(quick, content=encode_png(photo)).erasure.gates
    with pytest.raises(DataError, match=f"name {replaced.after} in its place"):
        run_night(other.night())
    assert not any(name.endswith(f"{replaced.before}.npz") for name in holding(other, photo))
    path = other.workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace(replaced.before, replaced.after))
    assert run_night(other.night()).outcome == "nothing to correct"


@pytest.mark.slow
def test_the_last_image_of_a_class_that_judges_is_not_taken_before_there_are_others(
    quick: Place, tmp_path: Path
) -> None:
    images = unseen(quick, 1)
    lonely = images.take(np.concatenate([np.flatnonzero(images.labels != 3), np.flatnonzero(images.labels == 3)[:1]]))
    add_gate(quick.night(), write(tmp_path / "new", [lonely]))
    photo = encode_png(lonely.images[-1])
    with pytest.raises(DataError, match=r"only image of 3 that judges.*control add"):
        erased(quick, content=photo)
    assert list(erasures(quick.storage)) == []
    others = noisy(load_split(quick.workspace.splits, "reference"), 2)  # of other pictures than those that judged
    add_gate(quick.night(), write(tmp_path / "more", [others]))  # now it is among the retired ones
    assert erased(quick, content=photo).erased is not None
    assert holding(quick, lonely.images[-1]) == []


@pytest.mark.slow
@pytest.mark.usefixtures("warm")
def test_with_dvc_it_leaves_cache_and_remote_and_the_releases_that_it_judged_verify(
    place: Place, tmp_path: Path
) -> None:
    many = [
        noisy(load_split(place.workspace.splits, name)) for name in ("train", "reference", "test")
    ]  # few prove too little
    add_gate(place.night(), write(tmp_path / "new", many))
    place.report_mistakes()  # some cannot be corrected
    summary = run_night(place.night())
    assert summary.version == 2, summary.sentence
    photo = load_split(place.workspace.splits, "gate").images[5]
    identity = pixel_digest(photo)
    assert len(judging_objects(place.storage, [identity])) == 1  # DVC pushed it
    fresh = place.beside(tmp_path / "fresh")
    done = erased(place, content=encode_png(photo))
    assert done.erased is not None
    assert holding(place, photo) == []
    for version in (1, 2):
        assert removal_of(place.storage, version) is None
        assert verify_bundle(place.storage, version, released_digest(place.storage, version)) == ()
    with pytest.raises(Removed, match="judged with was erased"):
        reproduce(place.storage, 2, tmp_path / "made", log=lambda _line: None)
    assert reproduce(place.storage, 1, tmp_path / "first", log=lambda _line: None).outcome == "equal"
    # a workspace without the root gets it, and makes the splits again
    for name in ("artifacts/root", "artifacts/splits"):
        for path in sorted((fresh.workspace.folder / name).rglob("*"), reverse=True):
            path.unlink()
    params = fresh.workspace.folder / "params.yaml"
    params.write_bytes(place.workspace.params_file)
    assert run_night(fresh.night()).outcome == "nothing to correct"
    assert read_record(fresh.workspace.splits) == read_record(place.workspace.splits)
