"""Two releases side by side as one HTML page, with the pictures in it."""

from __future__ import annotations

from errata.flows.releases.contents.page_source import page_templates
from errata.flows.releases.contents.pictures import SHARP, longest_side, share, thumbnail
from errata.flows.releases.diff import ReleaseDiff


def diff_page(diff: ReleaseDiff) -> bytes:
    """The page; an erased image has no picture."""
    corrections = {each.id: diff.pictures.get(each.id) for each in (*diff.added, *diff.removed)}
    files = corrections | {each.index: each.picture for each in diff.changed}
    sides = [longest_side(content) for content in files.values() if content]
    page = page_templates().get_template("diff.html.j2")
    return page.render(
        diff=diff,
        pictures={name: thumbnail(content, share(len(files))) if content else "" for name, content in files.items()},
        sharp=max(sides, default=0) <= SHARP,
    ).encode()
