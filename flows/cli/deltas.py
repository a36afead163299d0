"""Commands about deltas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from errata.flows.cli.base import AsJson, app, out, say_json


@app.command(rich_help_panel="Releases")
def apply(
    root: Annotated[Path, typer.Argument(help="The ONNX file of the root's release")],
    patch: Annotated[Path, typer.Argument(help="A release's patch.safetensors")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Where to write that release's ONNX file")],
    as_json: AsJson = False,
) -> None:
    """Make a release's ONNX file from its root's and a delta of a few kilobytes: byte for byte the one that was judged.

    The bytes are checked against the digest in the delta before anything is written.
    """
    from errata.data.releases.manifest import sha256
    from errata.editing.errors import DataError
    from errata.editing.onnx.delta import apply_delta

    try:
        made = apply_delta(root.read_bytes(), patch.read_bytes())
        beside = target.with_name(f".{target.name}.part")
        beside.write_bytes(made)
        beside.replace(target)
    except OSError as fault:
        raise DataError(f"{fault.filename}: {fault.strerror}") from fault
    if as_json:
        say_json({"file": str(target), "sha256": sha256(made), "bytes": len(made)})
    else:
        out.print(f"wrote {target} ({len(made):,} bytes, SHA-256 {sha256(made)[:12]})", highlight=False)
