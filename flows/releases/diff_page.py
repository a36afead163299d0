"""Two releases side by side as one HTML page, with the pictures in it."""

from __future__ import annotations

from errata.data.images import decode_image
from errata.flows.releases.contents.report import SHARP, page_templates, thumbnail
from errata.flows.releases.diff import ReleaseDiff


def diff_page(diff: ReleaseDiff) -> bytes:
    """The page; an erased image has no picture."""
    corrections = {each.id: diff.pictures.get(each.id) for each in (*diff.added, *diff.removed)}
    files = corrections | {each.index: each.picture for each in diff.changed}
    sides = [max(decode_image(content).shape[:2]) for content in files.values() if content]
    page = page_templates().get_template("diff.html.j2")
    return page.render(
        diff=diff,
        pictures={name: thumbnail(content) if content else "" for name, content in files.items()},
        sharp=max(sides, default=0) <= SHARP,
    ).encode()
