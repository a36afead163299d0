"""Everything of one photo that the store holds: the files as sent, copies of them, reports, corrections.

A photo is looked for by the digest of its file, by a report or a correction of it (or how these begin), or by a file
that is at hand. Files with the same pixels at the model's input size are one photo, however they are encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from errata.data import layout
from errata.data.images import ImageLimits, decode_image, fit_image, pixel_digest
from errata.data.releases.ledger import Correction
from errata.data.releases.manifest import sha256
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, ErrataError, TooLarge
from errata.flows.releases.decision import as_correction, recorded_decisions
from errata.flows.releases.gate_images import stored_gates
from errata.flows.releases.retention.evidence import kept_reports, read_each
from errata.flows.releases.retention.stored import StoredBundle

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Photo:
    """What there is of a photo: digests of its files, their `identities` (pixels at the model's input size), all
    corrections that releases ever held of it, and the reports that speak of it. `unread`: the keys of files and
    reports that cannot be read now, so that nobody can tell whether they are of it."""

    images: tuple[str, ...]
    identities: tuple[str, ...]
    corrections: tuple[Correction, ...]
    reports: tuple[str, ...]
    unread: tuple[str, ...] = ()


def find_photo(
    storage: Storage, bundles: Iterable[StoredBundle], shape: Shape | None, *, name: str = "", content: bytes = b""
) -> Photo:
    """The photo that `name` begins, or that the file `content` shows; `shape` is that of the live model's images.

    Every report and every image in the store is read once. Raises DataError if the name means none or several.
    """
    unread: list[str] = []
    spoken = {each.id: each.image for each in kept_reports(storage, unread)}
    held = {each.claim: each for bundle in bundles for each in (*bundle.taught, *bundle.edited)}
    held |= {each.claim: as_correction(each) for each in recorded_decisions(storage) if each.claim not in held}
    found = read_each(storage, layout.IMAGES, lambda key: _identity_at(storage, key, shape), unread)
    seen = {layout.stem(key): identity for key, identity in found}
    if content:
        images, identities = {sha256(content)}, {_identity(content, shape)} - {""}
    else:
        images, identities = _meant(storage, name, seen, spoken, {each.id for each in held.values()})
    identities |= {seen.get(image, "") for image in images} - {""}
    behind = {report for each in held.values() if each.id in identities for report in each.reports}
    images |= {image for image, identity in seen.items() if identity in identities}
    images |= {spoken[report] for report in behind if report in spoken}
    reports = {report for report, image in spoken.items() if image in images}
    identities |= {each.id for each in held.values() if reports & set(each.reports)}
    corrections = sorted(each for each in held.values() if each.id in identities)
    reports |= {report for each in corrections for report in each.reports}
    if not reports and not images & set(seen) and not identities & set(pictures(storage)):
        raise DataError(f"no photo like this is in {storage.url}: no file, no report, no correction of it")
    left = {key for key in unread if layout.stem(key) not in {*images, *reports}}  # those go, whatever they hold
    return Photo(
        tuple(sorted(images)),
        tuple(sorted(identities)),
        tuple(corrections),
        tuple(sorted(reports)),
        tuple(sorted(left)),
    )


def _meant(
    storage: Storage, name: str, seen: Iterable[str], spoken: dict[str, str], held: Iterable[str]
) -> tuple[set[str], set[str]]:
    """The image or the identity that a name begins, which may be a report's."""
    images = {image for image in (*seen, *spoken.values()) if image.startswith(name)}
    images |= {image for report, image in spoken.items() if report.startswith(name)}
    identities = {identity for identity in (*held, *pictures(storage)) if identity.startswith(name)}
    if not name or len(images) + len(identities) != 1:
        how_many = "several" if name and images | identities else "no photo, report or correction"
        raise DataError(f"{how_many} in {storage.url} begin with {name!r}: give a file's digest, a report, or --image")
    return images, identities


def pictures(storage: Storage) -> Iterator[str]:
    """The identities of all pictures at the model's input size: of corrections, of images that people were asked
    about or labelled, and of those in gate splits that were added."""
    yield from (layout.stem(key) for key in storage.keys(layout.CORRECTIONS))
    for _, split in stored_gates(storage):
        yield from map(pixel_digest, split.images)


def _identity_at(storage: Storage, key: str, shape: Shape | None) -> str:
    try:
        return _identity(storage.get(key, at_most=ImageLimits().max_bytes), shape)
    except TooLarge:  # it is no image that anything takes
        return ""


def _identity(content: bytes, shape: Shape | None) -> str:
    """The digest of a file's pixels as the model takes them, "" if it is no image."""
    try:
        return pixel_digest(fit_image(decode_image(content), shape)) if shape else ""
    except ErrataError:
        return ""
