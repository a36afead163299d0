"""The one image file in a request's body: the body itself, or the file of a form (`curl -F image=@seven.png`).

Forms are read in memory: what a browser calls the file names nothing here.
"""

from __future__ import annotations

import logging

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from errata.editing.errors import DataError

logging.getLogger("python_multipart").setLevel(logging.ERROR)  # who sends a bad form is told, and fills no log
ONE_FILE = "send one image file in the form, and nothing else: `curl -F image=@seven.png`"


def image_file(content: bytes, content_type: str | None) -> bytes:
    """The file in a body of that Content-Type. Raises DataError if it is a form of anything but one file."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return content
    part = _OnlyPart()
    try:
        boundary = options.get(b"boundary", b"")
        parser = MultipartParser(boundary, {"on_part_begin": part.begin, "on_part_data": part.take, "on_end": part.end})
        parser.write(content)
        parser.finalize()
    except FormParserError as fault:
        raise DataError(f"the form cannot be read ({fault}); {ONE_FILE}") from fault
    if not part.whole:
        raise DataError(f"the form breaks off; {ONE_FILE}")
    return bytes(part.content)


class _OnlyPart:
    """What a parser tells of a form's only part; a second one is refused as soon as it begins."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.parts = 0
        self.whole = False

    def begin(self) -> None:
        self.parts += 1
        if self.parts > 1:
            raise DataError(f"the form has several parts; {ONE_FILE}")

    def take(self, data: bytes, start: int, end: int) -> None:
        self.content += data[start:end]

    def end(self) -> None:
        self.whole = self.parts == 1
