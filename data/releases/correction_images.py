"""The images of corrections in the store, at the model's input size: put there once, read back against their identity.

corrections/<identity>.png
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from errata.data import layout
from errata.data.images import Pixels, decode_image, encode_png, fit_image, pixel_digest
from errata.data.releases.ledger import Ledger
from errata.data.storage.base import Storage
from errata.editing.errors import Damaged, NightError, NotStored


def keep_image(storage: Storage, identity: str, pixels: Pixels) -> bytes:
    """Put a correction's image into the store, unless it is there; returns the PNG file."""
    content = encode_png(pixels)
    try:
        storage.get(layout.correction_image(identity))
    except NotStored:
        storage.put_once(layout.correction_image(identity), content)
    return content


def correction_image(storage: Storage, identity: str, image_shape: tuple[int, int, int]) -> Pixels:
    """A correction's image, uint8 `image_shape`; raises Damaged if it is gone or is not the one that was corrected."""
    return _checked(storage, identity, image_shape)[1]


def correction_file(storage: Storage, identity: str, image_shape: tuple[int, int, int]) -> bytes:
    """The same image as the PNG file that the store holds."""
    return _checked(storage, identity, image_shape)[0]


def _checked(storage: Storage, identity: str, image_shape: tuple[int, int, int]) -> tuple[bytes, Pixels]:
    key = layout.correction_image(identity)
    try:
        content = storage.get(key)
    except NotStored as fault:
        raise Damaged(f"{key} is gone from the store; restore it, or `errata retract {identity[:12]}`") from fault
    pixels = fit_image(decode_image(content), image_shape)
    if pixel_digest(pixels) != identity:
        raise Damaged(f"{key} was changed in the store; restore it, or `errata retract {identity[:12]}`")
    return content, pixels


def copy_corrections(storage: Storage, folder: Path, ledger: Ledger, erased: Collection[str] = ()) -> None:
    """Write a ledger and its images as the store has them, unless they lie there; NightError if the store lost one.

    The images of `erased` are not there afterwards. Whoever reads the folder holds each image against its identity.
    """
    path, content = folder / "ledger.jsonl", ledger.to_jsonl().encode()
    if path.is_file() and path.read_bytes() == content:
        remove_images(folder, erased)
        return
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "images").mkdir(parents=True)
    for each in ledger.corrections:
        if each.id in erased:
            continue
        try:
            image = storage.get(layout.correction_image(each.id))
        except NotStored as fault:
            raise NightError(f"{fault}: nothing can be solved or trained with it; restore it, or retract it") from fault
        (folder / "images" / f"{each.id}.png").write_bytes(image)
    path.write_bytes(content)  # last: a folder with a ledger is whole


def remove_images(folder: Path, erased: Iterable[str]) -> None:
    """Remove the images of erased corrections from a folder that `copy_corrections` or `write_ledger` laid out."""
    for each in erased:
        (folder / "images" / f"{each}.png").unlink(missing_ok=True)
