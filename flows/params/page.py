"""docs/parameters.md, made from the types: `python -m flows.params.page` prints it."""

from __future__ import annotations

import json

from errata.flows.params.listing import SectionOf, sections

HEAD = """# Parameters

Everything that shapes a release is in `params.yaml`; what it leaves out has the default given here, which is the digits
demonstration's. A change runs exactly those stages again that read the changed section (`dvc.yaml` says which). DVC
wants each section that a stage reads to be named, so write `edit: {}` where every default will do. All that is wrong in
the file is told at once, before anything starts.

Made from the types by `make docs`.
"""


def page() -> str:
    """The page as Markdown: a table for each section."""
    return HEAD + "".join(_table(each) for each in sections() if each.parameters)


def _table(section: SectionOf) -> str:
    title = f"`{section.path}`" if section.path else "The file itself"
    table = "| name | type | unit | default | meaning |\n|---|---|---|---|---|\n"
    for one in section.parameters:
        name, default = one.path.rpartition(".")[2], json.dumps(one.default)
        table += f"| `{name}` | {one.allowed} | {one.unit} | `{default}` | {one.meaning} |\n"
    return f"\n## {title}\n\n{' '.join(section.about.split())}\n\n{table}"


if __name__ == "__main__":
    print(page(), end="")
