"""The Data Docs in a bundle: what Great Expectations found, in a page that needs nothing else and names no time."""

import re
from dataclasses import replace

from data.manifest import read_file, read_manifest
from flows.gate.criterion import Name
from flows.releases.data_docs import NAME, data_docs
from tests.flows.conftest import Place
from tests.flows.gate.gate_rows import PARAMS, passing_rows

BROKEN = '<i class="fas fa-times text-danger" ></i>'


def test_every_criterion_is_shown_with_its_limit() -> None:
    page = data_docs("edit", passing_rows(), PARAMS).decode()
    for name in Name:
        assert all(f"{name} {part}" in page for part in ("value", "bound", "n"))
    assert 'class="badge badge-secondary" >0.02</span>' in page  # the limit of negative flips
    assert BROKEN not in page


def test_a_broken_limit_is_marked() -> None:
    rows = [replace(row, bound=0.5) if row.name == Name.DRAWDOWN else row for row in passing_rows()]
    page = data_docs("edit", rows, PARAMS).decode()
    assert BROKEN in page
    assert "[0.5]" in page or ">0.5<" in page


def test_it_needs_nothing_else_and_is_the_same_again() -> None:
    first, again = (data_docs("root", passing_rows(), PARAMS) for _ in range(2))
    assert first == again
    text = first.decode()
    assert not re.search(r"<(script|link|img|iframe|form)\b|https?://|url\(", text)
    assert not re.search(r"\b20\d\d-?[01]\d-?[0-3]\d|[0-9a-f]{8}-[0-9a-f]{4}-", text)  # no time, no random identity


def test_it_is_in_the_bundle_and_the_report_links_to_it(place: Place) -> None:
    manifest = read_manifest(place.storage, 1)
    assert b"accuracy bound" in read_file(place.storage, manifest, NAME)
    assert f'href="{NAME}"' in read_file(place.storage, manifest, "report.html").decode()
