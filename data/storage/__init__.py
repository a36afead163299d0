"""Where everything is kept: a folder or an S3 bucket, behind one contract (`data.storage.base`)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from errata.data.storage.base import Storage, Versioned
from errata.data.storage.local import LocalStorage
from errata.editing.errors import StoreUnusable

__all__ = ["LocalStorage", "Storage", "Versioned", "open_storage"]


def open_storage(url: str | Path) -> Storage:
    """The store at `url`: a folder's path, or `s3://bucket/prefix` (endpoint and credentials from the AWS settings).

    Raises StoreUnusable on any other scheme. Nothing is contacted yet: `probe()` does.
    """
    text = str(url)
    if "://" not in text:
        return LocalStorage(Path(text))
    parts = urlsplit(text)
    if parts.scheme == "s3" and parts.netloc:
        from errata.data.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 is slow to import

        return S3Storage(parts.netloc, parts.path.strip("/"))
    raise StoreUnusable(f"{parts.scheme}:// is no store; give a folder's path or s3://bucket/prefix")
