"""Whoever writes to the store owns neither the disk nor the shell of whoever fetches a release's root from it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from errata.data import layout
from errata.data.releases.manifest import FileEntry, Manifest, read_file, read_manifest, sha256
from errata.data.storage import Storage
from errata.editing.errors import Damaged, ForeignCode, NotStored, StoreUnusable, TooLarge
from errata.flows.params import Params
from errata.flows.releases.outputs import OBJECTS, restore_outputs
from errata.flows.releases.pipeline import INSTALLED, check_params, check_pipeline, own_pipeline
from errata.flows.releases.reproduce import restore_workspace
from errata.flows.workspace import Workspace
from tests.conftest import NewStore
from tests.flows.conftest import REPOSITORY, Place, copy_dvc_objects, duplicate

Files = list[dict[str, Any]]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def put(storage: Storage, name: str, content: bytes) -> None:
    key = f"{OBJECTS}/{name[:2]}/{name[2:]}"
    storage.delete(key)
    storage.put_once(key, content)


@pytest.fixture
def attacked(quick: Place, new_store: NewStore) -> Place:
    """A place with its store, DVC's objects too, in every backend in turn, and without the root here."""
    storage = duplicate(quick.storage, new_store())
    copy_dvc_objects(quick, storage)
    shutil.rmtree(quick.workspace.root)
    return Place(quick.folder, elsewhere=storage)


def rewrite(storage: Storage, name: str, content: bytes) -> Manifest:
    """Change a file of release 1, and its manifest so that it agrees."""
    manifest = read_manifest(storage, 1)
    storage.delete(layout.release_file(1, name))
    storage.put_once(layout.release_file(1, name), content)
    files = {**manifest.files, name: FileEntry(sha256(content), len(content))}
    return Manifest(**{**manifest.__dict__, "files": files})


def forge(storage: Storage, change: Callable[[Files], object], size: int = 10**9) -> Manifest:
    """Change what the root's folder lists, and dvc.lock and the manifest so that they agree."""
    manifest = read_manifest(storage, 1)
    lock = yaml.safe_load(storage.get(layout.release_file(1, "dvc.lock")))
    (root,) = lock["stages"]["train"]["outs"]
    listed = json.loads(storage.get(f"{OBJECTS}/{root['md5'][:2]}/{root['md5'][2:]}"))
    change(listed)
    content = json.dumps(listed).encode()
    root |= {"md5": f"{md5(content)}.dir", "nfiles": len(listed), "size": size}
    put(storage, root["md5"], content)
    assert manifest.version == 1
    return rewrite(storage, "dvc.lock", yaml.safe_dump(lock).encode())


def refused(place: Place, manifest: Manifest, error: type[Exception], match: str | None = None) -> None:
    """The fetch is refused; neither the workspace nor what is around it has changed."""
    before = sorted(place.folder.rglob("*"))
    with pytest.raises(error, match=match):
        restore_outputs(place.storage, manifest, place.workspace, lambda _line: None)
    assert sorted(place.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "path", ["../../../x", "/tmp/x", "a/../../x", "a\\x", ".dvc/config", "-x", "", "model.json", "model.json/x", "a\nb"]
)
def test_a_path_that_leaves_its_folder_is_refused(attacked: Place, path: str) -> None:
    evil = b"evil"
    put(attacked.storage, md5(evil), evil)
    manifest = forge(attacked.storage, lambda files: files.append({"relpath": path, "md5": md5(evil)}))
    refused(attacked, manifest, Damaged, "which may not be")


def test_more_files_than_a_root_has_other_fields_and_other_bytes_are_refused(attacked: Place) -> None:
    storage = attacked.storage
    refused(attacked, forge(storage, lambda files: files.extend(files * 500)), Damaged, "does not say what|cannot be")


def test_other_fields_are_refused(attacked: Place) -> None:
    refused(attacked, forge(attacked.storage, lambda files: files[0].update(isexec=True)), Damaged, "cannot be read")


def test_one_more_file_is_another_root_though_every_md5_agrees(attacked: Place) -> None:
    put(attacked.storage, md5(b"x"), b"x")
    manifest = forge(attacked.storage, lambda files: files.append({"relpath": "x", "md5": md5(b"x")}))
    refused(attacked, manifest, Damaged, "not that of release 1")


def test_what_the_disk_has_no_room_for_is_not_fetched(attacked: Place) -> None:
    manifest = forge(attacked.storage, lambda _files: None, size=10**15)
    refused(attacked, manifest, TooLarge, "there is room for")


def test_an_object_that_was_changed_grew_or_went_is_refused(attacked: Place) -> None:
    storage, manifest = attacked.storage, read_manifest(attacked.storage, 1)
    lock = yaml.safe_load(storage.get(layout.release_file(1, "dvc.lock")))
    root = lock["stages"]["train"]["outs"][0]["md5"]
    content = storage.get(f"{OBJECTS}/{root[:2]}/{root[2:]}")
    put(storage, root, content.replace(b"root.onnx", b"../x.onnx"))
    refused(attacked, manifest, Damaged, "not what its name says")
    put(storage, root, b" " * (2**20 + 1))
    refused(attacked, manifest, TooLarge)
    storage.delete(f"{OBJECTS}/{root[:2]}/{root[2:]}")
    refused(attacked, manifest, NotStored)


@pytest.mark.parametrize("link", ["dvc", "dvc/files", "dvc/files/md5", "dvc/files/md5/ab"])
def test_dvc_pushes_through_no_link(tmp_path: Path, link: str) -> None:
    """It would follow it, and write into any folder of this machine."""
    (tmp_path / "home").mkdir()
    (tmp_path / "store" / link).parent.mkdir(parents=True)
    (tmp_path / "store" / link).symlink_to(tmp_path / "home")
    (tmp_path / "workspace").mkdir()
    with pytest.raises(StoreUnusable, match=f"{link} is a symbolic link"):
        Workspace(tmp_path / "workspace").push(str(tmp_path / "store"), log=lambda _line: None)
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("at", ["in what is read", "elsewhere"])
def test_a_lock_file_whose_aliases_stand_for_a_million_words_is_refused(quick: Place, at: str) -> None:
    shutil.rmtree(quick.workspace.root)
    word: object = "x"
    for _ in range(6):
        word = [word] * 10
    lock = yaml.safe_load(read_file(quick.storage, read_manifest(quick.storage, 1), "dvc.lock"))
    if at == "elsewhere":
        lock["stages"]["edit"] = {"cmd": word}
    else:
        lock["stages"]["train"]["outs"][0]["path"] = word
    content = yaml.safe_dump(lock).encode()
    assert len(content) < 10_000
    refused(quick, rewrite(quick.storage, "dvc.lock", content), Damaged, "its aliases written out")


def test_an_untouched_root_comes_into_dvcs_cache(attacked: Place) -> None:
    manifest = read_manifest(attacked.storage, 1)
    cache = attacked.workspace.folder / ".dvc" / "cache" / "files" / "md5"
    shutil.rmtree(cache)
    restore_outputs(attacked.storage, manifest, attacked.workspace, lambda _line: None)
    for path in cache.rglob("*"):
        if path.is_file():
            assert md5(path.read_bytes()) == f"{path.parent.name}{path.name}".removesuffix(".dir")
    assert len(list(cache.glob("*/*.dir"))) == 2  # splits and root


def test_the_installed_pipeline_is_the_repositorys() -> None:
    assert INSTALLED.read_bytes() == (REPOSITORY / "dvc.yaml").read_bytes()
    assert check_pipeline(INSTALLED.read_bytes(), "this one") == INSTALLED.read_bytes()


def test_a_project_of_its_own_has_the_installed_pipeline_spelled_so_that_no_package_of_its_own_is_meant() -> None:
    theirs, ours = (yaml.safe_load(each)["stages"] for each in (own_pipeline(), INSTALLED.read_bytes()))
    assert [stage.pop("cmd") for stage in theirs.values()] == [f"python -m errata.flows.stages {name}" for name in ours]
    assert [stage.pop("cmd") for stage in ours.values()] == [f"python -m flows.stages {name}" for name in theirs]
    assert theirs == ours
    assert check_pipeline(own_pipeline(), "this one") == own_pipeline()
    mixed = own_pipeline().replace(b"errata.flows.stages edit", b"flows.stages edit")
    with pytest.raises(ForeignCode, match=r"stages\.edit\.cmd"):
        check_pipeline(mixed, "release 1")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("python -m flows.stages edit", "touch /tmp/x; python -m flows.stages edit", r"stages\.edit\.cmd"),
        ("stages:\n", "stages:\n  shell:\n    cmd: touch /tmp/x\n", r"stages\.shell"),
        ("stages:\n", "vars: [x]\nstages:\n", "vars"),
        ("outs: [artifacts/root]", "outs: [artifacts/root, ../x]", r"stages\.train\.outs"),
        ("stages:", "nothing:", "no stages"),
    ],
)
def test_an_audit_refuses_another_pipeline_by_name(
    quick: Place, tmp_path: Path, old: str, new: str, named: str
) -> None:
    content = INSTALLED.read_text().replace(old, new).encode()
    with pytest.raises(ForeignCode, match=named):
        check_pipeline(content, "release 1")


def test_an_audit_runs_nothing_that_the_bundle_brings(quick: Place, tmp_path: Path) -> None:
    storage = quick.storage
    manifest = rewrite(storage, "dvc.yaml", INSTALLED.read_bytes().replace(b"python -m", b"touch pwned; python -m"))
    with pytest.raises(ForeignCode, match=r"stages\.train\.cmd"):
        restore_workspace(storage, manifest, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_plugins_are_named_by_the_auditor_and_weights_stay_inside(place: Place) -> None:
    def changed(**model: object) -> Params:
        raw = place.workspace.params.model_dump()
        return Params.model_validate({**raw, "model": {**raw["model"], **model}})

    check_params(place.workspace.params, (), "release 1")
    with pytest.raises(ForeignCode, match="'antigravity'"):
        check_params(changed(plugins=("antigravity",)), ("mine",), "release 1")
    check_params(changed(plugins=("mine",)), ("mine",), "release 1")
    for path in ("/etc/passwd", "../x"):
        with pytest.raises(ForeignCode, match="outside"):
            check_params(changed(weights=path), (), "release 1")
