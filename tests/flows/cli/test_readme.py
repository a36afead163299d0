"""The README's example is run as it stands."""

import re

import pytest

from tests.flows.conftest import REPOSITORY, Place


def test_the_library_example_corrects_an_image(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(place.workspace.folder)
    names: dict[str, object] = {}
    exec(example, names)
    result, mistake = names["result"], names["mistake"]
    assert result.success, result.reason  # type: ignore[attr-defined]
    before = int(names["root"](mistake.image[None]).argmax())  # type: ignore[attr-defined, operator]
    after = int(result.model(mistake.image[None]).argmax())  # type: ignore[attr-defined]
    assert before != mistake.expected == after  # type: ignore[attr-defined]
