"""Images from strangers: decoded safely, fitted to the model's input, identified by their pixels.

To decode costs up to 16 bytes of memory for each pixel. So the header decides, before anything is decompressed: a file
may promise a phone's 12 megapixels, and no more pixels than its bytes can pay for.

Allowed are PNG, JPEG, WebP and BMP, told by content and never by name. Refused are animations (which frame would the
claim be about?), truncated files, decompression bombs and files of very many parts; of a multi-picture JPEG, as phones
write them, the first picture counts. EXIF rotation is applied, alpha is laid over white, grey becomes three equal
channels.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from errata.editing.errors import DataError, TooLarge

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
PngImagePlugin.MAX_TEXT_MEMORY = PngImagePlugin.MAX_TEXT_CHUNK  # 1 MiB of decompressed text in all, by default 64
_PNG, _JPEG, _SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"\xff\xda"
_MOST_CHUNKS = 16_384  # of a PNG: writers cut its pixels into pieces of 8 KiB or more
_MOST_SCANS = 64  # of a JPEG: a baseline one has one, a progressive one about ten, each picture behind it some more
_MOST_EXIF = 2**17  # bytes: a JPEG's segment holds half of it
_FIRST_PICTURE_COUNTS = "MPO"  # what Pillow calls a JPEG with more pictures behind it


@dataclass(frozen=True)
class ImageLimits:
    """The most an image file may have: `max_bytes` as sent, `max_pixels` (width times height) once decoded.

    Beyond `free_pixels` a file may have at most `pixels_per_byte` of its bytes (a photo has 5 to 50), so that large
    pictures are not had for a few bytes.
    """

    max_bytes: int = 16 * 2**20
    max_pixels: int = 12_500_000
    free_pixels: int = 10**6
    pixels_per_byte: int = 250

    def most_pixels(self, size: int) -> int:
        """How many pixels a file of `size` bytes may have."""
        return min(self.max_pixels, max(self.free_pixels, self.pixels_per_byte * size))


def decode_image(content: bytes, limits: ImageLimits | None = None) -> Pixels:
    """The picture in an image file: uint8 `[height, width, 3]`.

    Raises TooLarge beyond `limits` (before anything is decompressed), DataError on all else that is not one whole
    picture of an allowed format.
    """
    limits = limits or ImageLimits()
    if len(content) > limits.max_bytes:
        raise TooLarge(f"the image has {len(content):,} bytes, the limit is {limits.max_bytes:,}; send a smaller copy")
    _check_parts(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_header(image, limits, len(content))
                image.verify()  # a PNG's checksums to its very end; loading stops where the pixels are full
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.load()
                if len(image.info.get("exif", b"")) > _MOST_EXIF:
                    raise DataError(f"the image has more than {_MOST_EXIF:,} bytes of EXIF; send it without")
                return _rgb(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise TooLarge(f"the image is a decompression bomb ({error}); send a smaller copy") from error
    except (TooLarge, DataError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly every kind on bytes that were made to hurt
        allowed = ", ".join(FORMATS)
        unknown = isinstance(error, UnidentifiedImageError)
        said = "it is of no allowed format" if unknown else str(error) or type(error).__name__
        raise DataError(f"the image cannot be decoded ({said}); send a whole {allowed} file") from error


def _check_parts(content: bytes) -> None:
    """Raise DataError where a file has so many parts that they take far longer to read than its pixels.

    Each chunk of a PNG costs microseconds and memory; each scan of a JPEG, which may have ten bytes, is a pass over all
    pixels.
    """
    count, most = 0, 0
    if content.startswith(_JPEG):
        count, most = (
            content.count(_SCAN),
            _MOST_SCANS,
        )  # FF DA is no part of pixels, only of headers and what they hold
    elif content.startswith(_PNG):
        place, most = len(_PNG), _MOST_CHUNKS
        while place < len(content) and count <= most:
            place += 12 + int.from_bytes(content[place : place + 4])
            count += 1
    if count > most:
        raise DataError(f"the image has more than {most:,} parts; save it anew and send that")


def _check_header(image: Image.Image, limits: ImageLimits, size: int) -> None:
    limit = limits.most_pixels(size)
    if image.width * image.height > limit:
        raise TooLarge(
            f"the image has {image.width} x {image.height} pixels, the limit is {limit:,} for its {size:,} bytes; "
            "send a smaller copy"
        )
    if getattr(image, "n_frames", 1) > 1 and image.format != _FIRST_PICTURE_COUNTS:
        raise DataError("the image is an animation; send the one frame that the report is about")


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would clip instead of scale
        wide = np.asarray(image, dtype=np.int64)
        grey = (np.clip(wide, 0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def fit_image(pixels: Pixels, image_shape: tuple[int, int, int]) -> Pixels:
    """Pixels `[h, w, 1 or 3]` as the model takes them: uint8 `image_shape`, its 1 (luminance) or 3 channels.

    The middle of the picture in the model's aspect ratio, resized with antialiasing; an image that already has the size
    keeps its every pixel. Raises DataError where there is nothing to fit.
    """
    height, width, channels = image_shape
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise DataError(f"{pixels.dtype} {pixels.shape} is no image; give uint8 [height, width, 1 or 3]")
    if channels not in (1, 3):
        raise DataError(f"a model of {channels} channels takes no images; use 1 or 3")
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), method=Image.Resampling.BILINEAR)
    return np.array(image).reshape(height, width, channels)


def encode_png(pixels: Pixels) -> bytes:
    """A PNG of uint8 `[h, w, 1 or 3]`; `decode_image` gives the same pixels back, and equal pixels equal bytes."""
    out = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG")
    return out.getvalue()


def pixel_digest(pixels: Pixels) -> str:
    """SHA-256 (hex) over height, width, channels (little-endian, 32 bits each) and the bytes of uint8 `[h, w, c]`."""
    header = struct.pack("<3I", *pixels.shape)
    return hashlib.sha256(header + np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).hexdigest()
