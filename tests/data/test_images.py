"""Safe decoding, fitting, identity. Attack files are in test_attacks.py."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from errata.data.images import ImageLimits, Pixels, decode_image, encode_png, fit_image, pixel_digest
from errata.editing.errors import DataError, TooLarge


def photo(height: int = 12, width: int = 20, channels: int = 3, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def file(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_a_lossless_file_decodes_to_its_pixels(kind: str, options: dict[str, object]) -> None:
    pixels = photo()
    assert np.array_equal(decode_image(file(Image.fromarray(pixels), kind, **options)), pixels)


def test_a_jpeg_decodes_nearly_to_its_pixels() -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    assert np.abs(decode_image(file(Image.fromarray(flat), "JPEG")).astype(int) - flat).max() <= 3


def test_exif_rotation_is_applied() -> None:
    pixels = photo()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    assert np.array_equal(decode_image(file(Image.fromarray(pixels), "PNG", exif=exif)), np.rot90(pixels, -1))


def test_alpha_lies_over_white() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    pixels[1, 1] = (0, 0, 0, 128)
    decoded = decode_image(file(Image.fromarray(pixels), "PNG"))
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    assert np.abs(decoded[1, 1].astype(int) - 255 * 127 / 255).max() <= 1


def test_grey_of_eight_and_sixteen_bits_becomes_three_equal_channels() -> None:
    grey = photo(channels=1)[:, :, 0]
    expected = np.stack([grey] * 3, axis=2)
    assert np.array_equal(decode_image(file(Image.fromarray(grey), "PNG")), expected)
    assert np.array_equal(decode_image(file(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")), expected)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO"])
def test_formats_off_the_list_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="cannot be decoded"):
        decode_image(file(Image.fromarray(photo(16, 16)), kind))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(kind: str) -> None:
    frames = [Image.fromarray(photo(seed=seed)) for seed in range(3)]
    with pytest.raises(DataError, match="animation"):
        decode_image(file(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_of_a_multi_picture_jpeg_the_first_counts() -> None:
    first, second = np.full((16, 16, 3), 40, np.uint8), np.full((16, 16, 3), 220, np.uint8)
    content = file(Image.fromarray(first), "MPO", save_all=True, append_images=[Image.fromarray(second)])
    assert np.abs(decode_image(content).astype(int) - 40).max() <= 2


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
    ],
)
def test_a_file_cut_anywhere_is_refused(kind: str, options: dict[str, object]) -> None:
    content = file(Image.fromarray(photo(8, 8)), kind, **options)
    decode_image(content)
    checksum_of_nothing = 4 if kind == "PNG" else 0  # Pillow does not read the last chunk's, which is empty
    for length in range(len(content) - checksum_of_nothing):
        with pytest.raises(DataError):
            decode_image(content[:length])


def test_limits_are_of_bytes_and_of_pixels() -> None:
    content = file(Image.fromarray(photo(10, 10)), "PNG")
    decode_image(content, ImageLimits(len(content), 100))
    with pytest.raises(TooLarge, match="bytes"):
        decode_image(content, ImageLimits(len(content) - 1, 100))
    with pytest.raises(TooLarge, match="pixels"):
        decode_image(content, ImageLimits(len(content), 99))


def test_a_bomb_is_refused_by_its_header_whatever_the_limits() -> None:
    for side in (10_000, 60_000):  # Pillow warns of the one and refuses the other
        header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n"
        for chunk in (b"IHDR" + header, b"IDAT" + zlib.compress(b""), b"IEND"):
            content += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        with pytest.raises(TooLarge, match="decompression bomb"):
            decode_image(content, ImageLimits(max_pixels=10**12))


def test_what_is_no_image_is_said_the_same_way_every_time() -> None:
    said = set()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            decode_image(b"no image")
        said.add(str(caught.value))
    assert said == {"the image cannot be decoded (it is of no allowed format); send a whole PNG, JPEG, WEBP, BMP file"}


def test_an_image_of_the_right_size_keeps_every_pixel() -> None:
    colour, grey = photo(8, 8), photo(8, 8, 1)
    assert np.array_equal(fit_image(colour, (8, 8, 3)), colour)
    assert np.array_equal(fit_image(grey, (8, 8, 1)), grey)
    assert np.array_equal(fit_image(decode_image(encode_png(grey)), (8, 8, 1)), grey)
    assert np.array_equal(fit_image(grey, (8, 8, 3)), np.repeat(grey, 3, axis=2))


def test_colour_becomes_luminance() -> None:
    pixels = photo(8, 8)
    expected = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    assert np.abs(fit_image(pixels, (8, 8, 1))[:, :, 0] - expected).max() <= 1


def test_resizing_is_antialiased() -> None:
    """A fine checkerboard shrinks to its mean; taking every fourth pixel would give all black or all white."""
    board = np.indices((32, 32)).sum(axis=0) % 2 * 255
    small = fit_image(board.astype(np.uint8)[:, :, None], (8, 8, 1))
    assert np.abs(small.astype(float) - 127.5).max() < 8


def test_the_middle_of_another_aspect_ratio_is_kept() -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 8:16] = 200
    assert (fit_image(pixels, (8, 8, 3)) == 200).all()


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 2), (0, 8, 3)])
def test_what_is_no_image_is_not_fitted(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="no image"):
        fit_image(np.zeros(shape, np.uint8), (8, 8, 3))


def test_identity_is_of_pixels_and_shape() -> None:
    pixels = photo(2, 3)
    by_hand = hashlib.sha256(struct.pack("<III", 2, 3, 3) + bytes(int(value) for value in pixels.ravel())).hexdigest()
    assert pixel_digest(pixels) == by_hand
    assert pixel_digest(pixels) != pixel_digest(pixels.reshape(3, 2, 3))
    assert pixel_digest(pixels[::-1]) == pixel_digest(pixels[::-1].copy())
    assert encode_png(pixels) == encode_png(pixels.copy())
