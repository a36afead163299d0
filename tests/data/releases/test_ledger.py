"""The ledger: canonical, content-addressed, one correction an image."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from errata.data.images import Pixels, encode_png, pixel_digest
from errata.data.releases.ledger import Correction, Ledger, read_ledger, write_ledger
from errata.editing.errors import Damaged, DataError

SHAPE = (8, 8, 1)


def some(count: int) -> tuple[tuple[Correction, ...], dict[str, Pixels]]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, SHAPE, dtype=np.uint8) for _ in range(count)]
    named = {pixel_digest(image): image for image in images}
    return tuple(Correction(name, str(index % 10), (f"r{index}",)) for index, name in enumerate(named)), named


def png_files(images: dict[str, Pixels]) -> dict[str, bytes]:
    return {name: encode_png(image) for name, image in images.items()}


def test_the_order_of_arrival_leaves_no_trace() -> None:
    corrections, _ = some(20)
    shuffled = list(corrections)
    random.Random(1).shuffle(shuffled)
    assert Ledger(3, corrections).to_jsonl() == Ledger(3, tuple(shuffled)).to_jsonl()
    assert Ledger(3, corrections).digest == Ledger(3, tuple(shuffled)).digest
    assert Ledger(4, corrections).digest != Ledger(3, corrections).digest


def test_text_round_trips() -> None:
    ledger = Ledger(7, some(5)[0])
    assert Ledger.from_jsonl(ledger.to_jsonl()) == ledger
    assert [json.loads(line)["id"] for line in ledger.to_jsonl().splitlines()[1:]] == sorted(
        each.id for each in ledger.corrections
    )


def test_an_image_has_one_correction() -> None:
    with pytest.raises(DataError, match="two corrections"):
        Ledger(1, (Correction("a", "1"), Correction("a", "2")))


def test_growing_merges_the_reports_behind_one_claim_and_lets_a_new_claim_win() -> None:
    old = Ledger(1, (Correction("a", "1", ("r1",)), Correction("b", "2", ("r2",))))
    new = old.grown(2, [Correction("a", "1", ("r3",)), Correction("b", "5", ("r4",)), Correction("c", "3", ("r5",))])
    assert new.corrections == (
        Correction("a", "1", ("r1", "r3")),
        Correction("b", "5", ("r4",)),
        Correction("c", "3", ("r5",)),
    )
    assert new.without(3, ["b"]).corrections == (new.corrections[0], new.corrections[2])


@pytest.mark.parametrize(
    "text",
    ["", "no json\n", '{"format": "other", "version": 1}\n', '{"format":"errata-ledger/1","version":1}\n{"id":1}\n'],
)
def test_a_damaged_ledger_is_refused_by_name(text: str) -> None:
    with pytest.raises(DataError, match="ledger"):
        Ledger.from_jsonl(text)


def test_the_folder_round_trips_and_repeats_byte_for_byte(tmp_path: Path) -> None:
    corrections, images = some(6)
    ledger = Ledger(2, corrections)
    for name in ("one", "two"):
        write_ledger(tmp_path / name, ledger, png_files(images))
    read, pixels = read_ledger(tmp_path / "one", SHAPE)
    assert read == ledger
    for index, correction in enumerate(read.corrections):
        np.testing.assert_array_equal(pixels[index], images[correction.id])
    files = [{path.name: path.read_bytes() for path in sorted((tmp_path / n).rglob("*.*"))} for n in ("one", "two")]
    assert files[0] == files[1]


def test_writing_a_smaller_ledger_leaves_no_stale_image(tmp_path: Path) -> None:
    corrections, images = some(4)
    write_ledger(tmp_path, Ledger(1, corrections), png_files(images))
    write_ledger(tmp_path, Ledger(2, corrections[:1]), png_files(images))
    assert [path.stem for path in (tmp_path / "images").iterdir()] == [corrections[0].id]


def test_an_image_that_is_not_the_one_named_is_refused(tmp_path: Path) -> None:
    corrections, images = some(2)
    write_ledger(tmp_path, Ledger(1, corrections), png_files(images))
    first, second = (tmp_path / "images" / f"{each.id}.png" for each in corrections)
    first.write_bytes(second.read_bytes())
    with pytest.raises(Damaged, match=first.name):
        read_ledger(tmp_path, SHAPE)
    first.unlink()
    with pytest.raises(DataError, match="missing"):
        read_ledger(tmp_path, SHAPE)
