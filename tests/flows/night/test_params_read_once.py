"""params.yaml is read once a night, and a change of it in the middle is refused."""

import pytest

from errata.data.releases.manifest import read_live
from errata.editing.errors import DataError
from errata.flows.night.run import run_night
from errata.flows.night.state import open_night
from errata.flows.night.step import Arguments, Result, Step
from errata.flows.params import Params
from tests.flows.conftest import Place


def test_params_are_read_once_a_night(quick: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.report_mistakes(1)
    read: list[str] = []
    check = Params.model_validate_json

    def counted(text: str) -> Params:
        read.append(text)
        return check(text)

    monkeypatch.setattr(Params, "model_validate_json", counted)
    night = open_night(quick.storage.url, str(quick.workspace.folder), "test", lambda _line: None)
    assert len(read) == 1  # at once, so that its faults are told first
    assert run_night(night).outcome == "released"
    assert len(read) == 1


def test_a_change_in_the_middle_of_a_night_is_refused(quick: Place) -> None:
    quick.report_mistakes(1)
    before = read_live(quick.storage)
    path = quick.workspace.folder / "params.yaml"

    def change_it(step: Step[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        if step.name == "release":
            path.write_text(path.read_text() + "# changed\n")
        return step(*args, **kwargs)

    with pytest.raises(DataError, match=r"params\.yaml was changed"):
        run_night(quick.night(), change_it)
    assert read_live(quick.storage) == before
