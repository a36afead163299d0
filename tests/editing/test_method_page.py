"""The examples of docs/method.md run, and do what they say."""

import re
from pathlib import Path
from typing import Any

import torch

from tests.editing.models import SEARCH, small_features, small_translations, small_writer

PAGE = Path(__file__).parents[2] / "docs" / "method.md"


def test_the_examples_edit_a_network_with_real_outputs_and_one_that_writes(capsys: Any) -> None:
    pairs, wanted = small_translations(64), torch.tensor([5, 4, 3])
    source = pairs[0, 0, :4]
    names: dict[str, Any] = {"features": small_features(100), "values": torch.tensor([0.5, -0.5])}
    names |= {"writer": small_writer(), "pairs": pairs, "source": source, "wanted": wanted}
    torch.manual_seed(0)
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), names)
    assert capsys.readouterr().out == "(5, 4, 3)\n" != f"{SEARCH.says(small_writer(), source)}\n"
