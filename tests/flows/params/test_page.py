"""docs/parameters.md is what the types say, and every parameter is explained."""

import pytest
from pydantic import BaseModel

from errata.flows.params import Params
from errata.flows.params.listing import sections
from errata.flows.params.page import page
from tests.flows.conftest import REPOSITORY


def leaves(record: BaseModel, path: str = "") -> dict[str, object]:
    """Each parameter's default by its path, from the records themselves."""
    found: dict[str, object] = {}
    for name, value in record:
        inner = isinstance(value, BaseModel)
        found |= leaves(value, f"{path}{name}.") if inner else {f"{path}{name}": value}
    return found


def test_the_committed_page_is_what_the_types_give() -> None:
    assert (REPOSITORY / "docs" / "parameters.md").read_text() == page(), "run `make docs`"


def test_every_parameter_is_listed_with_its_default_and_a_meaning() -> None:
    listed = {one.path: one for each in sections() for one in each.parameters}
    assert {path: one.default for path, one in listed.items()} == leaves(Params())
    for one in listed.values():
        assert one.meaning and one.allowed, one.path
    assert all(each.about for each in sections())


@pytest.mark.parametrize(
    ("path", "allowed", "unit"),
    [
        ("seed", "integer, at least 0", ""),
        ("views.max_shift", "number, at least 0 and below 1", "share of the image's side"),
        ("edit.margin", "number, at least 0", "logits"),
        ("train.precision", "one of float32, bfloat16", ""),
        ("data.splits.gate", "integer, at least -1", "images"),
        ("trust.patience_days", "number, above 0 and at most 36500", "days"),
    ],
)
def test_type_limits_and_unit_are_the_fields(path: str, allowed: str, unit: str) -> None:
    (found,) = [one for each in sections() for one in each.parameters if one.path == path]
    assert (found.allowed, found.unit) == (allowed, unit)
