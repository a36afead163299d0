"""Gate splits that operators added: in the store under their digest, and where the stage `prepare` reads them.

A photo that is erased leaves such a split as well: the rest of it is another split, which takes its place. What was
judged by the old one stays, as numbers.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from errata.data import layout
from errata.data.datasets import LabelledImages
from errata.data.images import pixel_digest
from errata.data.releases.erasure import Erasure, ReplacedGate, replaced_gates
from errata.data.releases.manifest import Manifest, read_file, sha256
from errata.data.splits import SPLIT_BYTES, pack_split, unpack_split
from errata.data.storage.base import Storage
from errata.editing.errors import DataError, NotStored
from errata.flows.params import parse_params
from errata.flows.workspace import Workspace


def keep_gate(storage: Storage, workspace: Workspace, digest: str, content: bytes) -> None:
    """Put a gate split into the store first, then into the workspace."""
    storage.put_once(layout.gate_images(digest), content)
    _write(workspace, digest, content)


def fetch_gates(storage: Storage, workspace: Workspace) -> None:
    """Bring the gate splits that params.yaml names into a workspace that lacks them; raises Damaged on another file.

    One that the store lacks is left to the stage that needs it. Raises DataError if one held a photo that was erased,
    and removes it here; it says which to name instead.
    """
    replaced = replaced_gates(storage)
    for digest in replaced:
        (workspace.gates / f"{digest}.npz").unlink(missing_ok=True)
    for digest in workspace.params.data.gates:
        if digest in replaced:
            instead = f"name {replaced[digest]} in its place" if replaced[digest] else "nothing is left of it"
            raise DataError(f"params.yaml, data.gates: {digest} held a photo that was erased; {instead}")
        if not (workspace.gates / f"{digest}.npz").exists():
            try:
                _write(workspace, digest, storage.get(layout.gate_images(digest), sha256=digest, at_most=SPLIT_BYTES))
            except NotStored:
                continue


def stored_gates(storage: Storage) -> Iterator[tuple[str, LabelledImages]]:
    """Every gate split in the store, with its digest; raises Damaged on another file."""
    for key in storage.keys(layout.GATES):
        yield layout.stem(key), unpack_split(storage.get(key, sha256=layout.stem(key), at_most=SPLIT_BYTES))


def gates_without(storage: Storage, identities: Collection[str]) -> tuple[ReplacedGate, ...]:
    """What each gate split in the store that holds one of these images would become without it; nothing is changed."""
    found = []
    for digest, split in stored_gates(storage):
        rest = _without(split, identities)
        if len(rest) < len(split):
            found.append(ReplacedGate(digest, sha256(pack_split(rest)) if len(rest) else ""))
    return tuple(found)


def check_gates(storage: Storage, workspace: Workspace, erasure: Erasure) -> None:
    """Raise DataError if the split that judges would lack a class without the photo: then nothing could be judged."""
    judging = workspace.params.data.gates[-1:]
    for digest, split in stored_gates(storage):
        if digest in judging and digest in {each.before for each in erasure.gates}:
            left = set(_without(split, erasure.identities).labels.tolist())
            if missing := [name for label, name in enumerate(split.classes) if label not in left]:
                raise DataError(
                    f"it is the only image of {', '.join(missing)} that judges, in the gate split {digest[:12]}: bring "
                    "another gate split first (`errata control add FOLDER`), then erase again"
                )


def replace_gates(storage: Storage, workspace: Workspace, erasure: Erasure) -> None:
    """Put what is left of each gate split in its place, in the store, in params.yaml and in the workspace."""
    for gate in erasure.gates:
        with suppress(NotStored):
            before = storage.get(layout.gate_images(gate.before), sha256=gate.before, at_most=SPLIT_BYTES)
            split = unpack_split(before)
            if gate.after:
                storage.put_once(layout.gate_images(gate.after), pack_split(_without(split, erasure.identities)))
            storage.delete(layout.gate_images(gate.before))
    replaced = replaced_gates(storage)
    if not replaced.keys().isdisjoint(workspace.params.data.gates):
        instead = [replaced.get(digest, digest) for digest in workspace.params.data.gates]
        name_gates(workspace, [digest for digest in instead if digest])
    fetch_gates(storage, Workspace(workspace.folder))


def judged_on_erased(storage: Storage, manifest: Manifest) -> bool:
    """Whether a release was judged with a gate split that held a photo which was erased since."""
    replaced = replaced_gates(storage)
    if not replaced:
        return False
    params = parse_params(read_file(storage, manifest, "params.yaml"), f"params.yaml of release {manifest.version}")
    return not replaced.keys().isdisjoint(params.data.gates)


def name_gates(workspace: Workspace, digests: Sequence[str]) -> None:
    """Make `data.gates` in params.yaml these digests; its comments stay."""
    yaml = YAML()
    yaml.width = 10_000
    document = yaml.load(workspace.params_file)
    document["data"]["gates"] = list(digests)
    out = BytesIO()
    yaml.dump(document, out)
    _replace(workspace.folder / "params.yaml", out.getvalue())


def _without(split: LabelledImages, identities: Collection[str]) -> LabelledImages:
    gone = set(identities)
    return split.take(np.flatnonzero([pixel_digest(image) not in gone for image in split.images]))


def _write(workspace: Workspace, digest: str, content: bytes) -> None:
    workspace.gates.mkdir(exist_ok=True)
    _replace(workspace.gates / f"{digest}.npz", content)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, also if the power is lost: params.yaml is the operator's own."""
    whole = path.with_suffix(".new")
    with whole.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    whole.replace(path)
