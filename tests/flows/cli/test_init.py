"""`errata init` looks at the images, chooses by them, tries the network, and writes over nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from errata.data.images import encode_png
from errata.editing.errors import DataError, ModelError
from errata.flows.cli.app import app
from errata.flows.cli.new_project.files import params_file, project_files, refuse_a_project, write_project
from errata.flows.params import Params, parse_params
from errata.flows.params.sections import ModelParams
from errata.flows.releases.pipeline import check_pipeline
from tests.flows.conftest import REPOSITORY
from tests.flows.night.faults import full_disk

COUNTS = {"cat": 40, "dog": 60}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 100 grey images of two classes, of 10 x 12 pixels; one of them is there twice."""
    chance = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(count):
            grey = chance.integers(0, 256, (10, 12, 1), np.uint8)
            (tmp_path / "images" / name / f"{number}.png").write_bytes(encode_png(grey))
    again = (tmp_path / "images" / "cat" / "0.png").read_bytes()
    (tmp_path / "images" / "cat" / "1.png").write_bytes(again)
    monkeypatch.delenv("ERRATA_WORKSPACE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str, answers: str | None = None) -> Result:
    ask = "--no-ask" if answers is None else "--ask"
    return CliRunner().invoke(app, ["init", *words, ask], input=answers, catch_exceptions=True, env={"COLUMNS": "200"})


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if not name.startswith("images/")}


def test_it_writes_what_the_images_are(project: Path) -> None:
    done = init("images", "--trusted", "me")
    assert done.exit_code == 0, done.output
    params = parse_params((project / "params.yaml").read_bytes())
    assert params.data.image_shape == (10, 12, 1)
    parts = params.data.splits
    assert parts.train + parts.reference + parts.calibration + parts.gate + parts.test == 99  # one was a copy
    assert params.trust.trusted == ("me",)
    assert abs(params.model.mean[0] - 0.5) < 0.02  # of uniform noise, whose deviation is 1 / sqrt(12)
    assert abs(params.model.std[0] - 12**-0.5) < 0.02
    assert "all 10 x 12 pixels, grey" in done.output
    assert "cat (40), dog (60)" in done.output
    assert "Nothing can pass recall_drop" in done.output.replace("\n", " ")  # ten cats judge nothing
    check_pipeline((project / "dvc.yaml").read_bytes(), "this project")
    for name in ("prefect.yaml", ".dvc/config", ".dvc/.gitignore"):
        assert (project / name).read_bytes() == (REPOSITORY / name).read_bytes(), name
    declared = yaml.safe_load((project / "dvc.yaml").read_text())["stages"].values()
    written = yaml.safe_load((project / "params.yaml").read_text())
    assert {name for stage in declared for name in stage.get("params", [])} <= set(written)
    assert "approval" not in written
    assert "no_scm = true" in (project / ".dvc" / "config.local").read_text()


def test_in_a_git_repository_dvc_uses_it(project: Path) -> None:
    (project / ".git").mkdir()
    assert init("images").exit_code == 0
    assert not (project / ".dvc" / "config.local").exists()


def test_files_that_are_no_images_are_refused_by_name_and_nothing_is_written(project: Path) -> None:
    for name in ("cat/notes.txt", "dog/half.png"):
        content = (project / "images" / "dog" / "0.png").read_bytes()
        (project / "images" / name).write_bytes(content[: len(content) // 2] if "half" in name else b"of cats")
    done = init("images")
    assert isinstance(done.exception, DataError)
    assert "2 of 102 files" in str(done.exception)
    assert "cat/notes.txt" in str(done.exception) and "dog/half.png" in str(done.exception)
    assert files(project) == set()


def test_images_in_no_folder_of_a_class_are_refused_with_what_to_do(project: Path) -> None:
    done = init("images/cat")
    assert isinstance(done.exception, DataError)
    assert "it must hold a folder for each class" in str(done.exception)
    assert files(project) == set()


def test_a_link_in_the_project_stays_a_link(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("disk") / "Fotos für morgen"
    (project / "images").rename(elsewhere)
    (project / "my images").symlink_to(elsewhere)
    done = init("my images")
    assert done.exit_code == 0, done.output
    assert parse_params((project / "params.yaml").read_bytes()).data.root == "my images"
    (project / "params.yaml").unlink()
    done = init(str(elsewhere))
    assert done.exit_code == 0, done.output
    assert str(elsewhere) in (project / "params.yaml").read_text()  # as a person would write it, not escaped


@pytest.mark.parametrize("name", ["errata.py", "errata/__init__.py"])
def test_a_module_that_hides_ours_is_refused(project: Path, name: str) -> None:
    (project / name).parent.mkdir(exist_ok=True)
    (project / name).touch()
    done = init("images")
    assert isinstance(done.exception, DataError)
    assert "call it something else" in str(done.exception)


def test_nothing_is_written_over(project: Path) -> None:
    (project / ".gitignore").write_text("mine\n")
    done = init("images")
    assert done.exit_code == 0
    assert (project / ".gitignore").read_text() == "mine\n"
    assert "/artifacts/" in done.output
    before = {name: (project / name).read_bytes() for name in files(project)}
    again = init("images")
    assert isinstance(again.exception, DataError)
    assert "params.yaml" in str(again.exception)
    assert {name: (project / name).read_bytes() for name in files(project)} == before


def test_a_network_that_does_not_fit_its_weights_is_refused_before_anything_is_written(project: Path) -> None:
    torch.save({"head.weight": torch.zeros(2, 3)}, project / "other.pt")
    done = init("images", "--weights", "other.pt", "--mean", "0.5", "--std", "0.3")
    assert isinstance(done.exception, ModelError)
    assert files(project) == {"other.pt"}


def test_what_is_not_given_is_asked_for(project: Path) -> None:
    assert init().exit_code == 2  # where nobody can be asked
    assert init("nowhere").exit_code == 2
    done = init(answers="images\nresnet\n\n")
    assert done.exit_code == 0, done.output
    assert parse_params((project / "params.yaml").read_bytes()).data.root == "images"


def test_params_with_what_differs_alone_are_the_same_parameters() -> None:
    for params in (
        Params(),
        Params(seed=3, model=ModelParams(architecture="timm", arguments={"name": "resnet18"}, mean=(0.1,), std=(1.0,))),
    ):
        assert parse_params(params_file(params)) == params
    assert b"slots" not in params_file(Params(seed=3))


@pytest.mark.slow
def test_published_weights_bring_what_goes_with_them(project: Path) -> None:
    """Grey pictures of 10 x 12 pixels become photos of three channels at the size that the network was trained at."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra `photos` is not installed")
    (project / "images" / "cat").rename(project / "images" / "Egyptian cat")
    refused = init("images", "--network", "efficientnet_lite0")
    assert refused.exit_code != 0
    assert isinstance(refused.exception, ModelError)
    assert "'dog' is none" in str(refused.exception)
    assert not (project / "params.yaml").exists()
    (project / "images" / "dog").rename(project / "images" / "beagle")
    done = init("images", "--network", "efficientnet_lite0")
    assert done.exit_code == 0, done.output
    params = parse_params((project / "params.yaml").read_bytes())
    assert (params.model.weights, params.data.image_shape) == ("published", (224, 224, 3))
    assert params.model == parse_params(b"model: {architecture: efficientnet_lite0}").model
    assert params.data.splits.train == 9  # a tenth: nothing is trained


class Ending(dict[str, bytes]):
    """Files of which the process sees so many, and then is killed."""

    def __init__(self, files: dict[str, bytes], after: int) -> None:
        super().__init__(files)
        self.after = after

    def items(self) -> Any:
        for number, item in enumerate(super().items()):
            if number == self.after:
                raise KeyboardInterrupt
            yield item


@pytest.mark.parametrize("git", [True, False])
def test_killed_between_any_two_files_it_is_begun_again(tmp_path: Path, git: bool) -> None:
    files = project_files(Params(), git=git)
    for after in range(len(files)):
        folder = tmp_path / str(after)
        with pytest.raises(KeyboardInterrupt):
            write_project(folder, Ending(files, after))
        refuse_a_project(folder)
        assert write_project(folder, files) == []
        assert {name: (folder / name).read_bytes() for name in files} == files
        with pytest.raises(DataError, match="already"):
            refuse_a_project(folder)


def test_no_file_of_it_is_half_written(tmp_path: Path) -> None:
    """The disk is full in the middle of one."""
    files = project_files(Params(), git=True)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write_project(tmp_path, files)
    assert all(files[name] == (tmp_path / name).read_bytes() for name in files if (tmp_path / name).exists())
    assert write_project(tmp_path, files) == []
    assert all((tmp_path / name).read_bytes() == content for name, content in files.items())


def test_somebody_elses_pipeline_is_a_project(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(DataError, match=r"dvc\.yaml already"):
        refuse_a_project(tmp_path)
