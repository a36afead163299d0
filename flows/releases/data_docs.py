"""Great Expectations' Data Docs of the gate's limits, for the bundle: the declared suite and how each rule came out.

Great Expectations' own pages carry the time of the run and fetch styles and scripts from elsewhere. A bundle carries no
time and its pages need nothing else; so its renderer and its section templates are used, without what they write about
the run, inside a plain page. The same rows give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data.validation import quiet
from flows.gate.criterion import Criterion, Kind
from flows.gate.expectations import check_expectations
from flows.params import GateParams

NAME = "data_docs.html"

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data Docs: the gate's limits</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1rem }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #d9dee4; vertical-align: top }
h5 { font-size: 1rem; margin: 1.4rem 0 .2rem } h6 { font-size: .9rem; margin: .8rem 0 .2rem }
.badge { background: #eef1f4; border-radius: .2rem; padding: 0 .25rem; font-family: ui-monospace, monospace }
.text-success::before { content: "\\2713"; color: #18794e } .text-danger::before { content: "\\2717"; color: #c62a2f }
.text-warning::before { content: "!"; color: #ad5700 }
</style></head><body>
<h1>The gate's limits, as Great Expectations sees them</h1>
<p>One row, a column for each criterion's value, bound and number of images. Checked from <code>params.yaml</code>,
held against <code>gate.json</code>, both in this folder. The drawdown against the release before is not in it: that is
in the log, for a release does not depend on its parent.</p>
"""


def data_docs(kind: Kind, criteria: Iterable[Criterion], params: GateParams) -> bytes:
    """The page for a candidate's rows: UTF-8 HTML that needs no other file."""
    outcome = check_expectations(kind, criteria, params).outcome
    with quiet():
        from great_expectations.render import renderer, view  # noqa: PLC0415 - slow
    version = outcome.meta["great_expectations_version"]
    outcome.meta = {}  # the rest of it is when and where
    with quiet():
        page: Any = getattr(renderer, "ValidationResultsPageRenderer")(run_info_at_end=True)  # noqa: B009 - as below
        template: Any = getattr(view, "DefaultJinjaSectionView")()  # noqa: B009 - not declared as exported
        document = page.render(outcome)
        sections = [
            template.render({"section": section.to_json_dict(), "section_loop": {"index": index}})
            for index, section in enumerate(document.sections[:-1], 1)  # the last is about the run
        ]
    lines = (line.rstrip() for section in sections for line in section.splitlines())
    body = "\n".join(line for line in lines if line)
    return f"{_PAGE}{body}\n<p>Great Expectations {version}</p>\n</body></html>\n".encode()
