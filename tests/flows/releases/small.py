"""Releases of a ledger and a few numbers, for tests of what happens to releases and not of what is in them."""

from collections.abc import Iterable

from errata.data import layout
from errata.data.releases.edit_record import EditRecord
from errata.data.releases.ledger import Correction, Ledger
from errata.data.releases.manifest import FileEntry, Live, Manifest, read_live, sha256
from errata.data.releases.replay import NAME as REPLAY
from errata.data.storage.base import Storage
from errata.flows.gate.measurements import ErrorRates, GateMeasurements, SplitErrors
from errata.flows.releases.contents.bundle import Bundle, publish
from errata.flows.releases.pointer import make_live


def correction(name: str) -> Correction:
    """One whose identity begins with `name`, which is hexadecimal."""
    return Correction(name.ljust(64, "0"), "cat", (f"report of {name}",))


def identities(names: Iterable[str]) -> set[str]:
    """The identities of such corrections."""
    return {correction(name).id for name in names}


def make_bundle(version: int, names: Iterable[str] = (), learned: Iterable[str] = (), error: float = 0.04) -> Bundle:
    """A release that holds the corrections called `names`, of a root that was taught those called `learned`."""
    ledger = Ledger(version, tuple(map(correction, names)))
    digest = sha256(b"the same for all")
    errors = SplitErrors(ErrorRates(0.04, error), ErrorRates(0.04, error))
    measured = GateMeasurements("edit", version, digest, digest, len(ledger.corrections), {}, errors)
    edited = EditRecord(True, 1, "", {each.id: True for each in ledger.corrections})
    files = {
        "ledger.jsonl": ledger.to_jsonl().encode(),
        "edit.json": edited.to_json(),
        REPLAY: Ledger(0, tuple(map(correction, learned))).to_jsonl().encode(),
        "gate.json": measured.to_json(),
    }
    entries = {name: FileEntry(sha256(content), len(content)) for name, content in files.items()}
    corrections = len(ledger.corrections)
    return Bundle(Manifest(version, "edit", digest, ledger.digest, digest, digest, corrections, entries), files)


def release(storage: Storage, bundle: Bundle) -> Live:
    """Publish it and make it live."""
    publish(storage, bundle)
    return make_live(storage, bundle.manifest, read_live(storage), action="released", by="test", why="a test")


def rewrite(storage: Storage, bundle: Bundle) -> None:
    """Put another bundle in the place of a published one, as whoever may write to the store can."""
    for key in list(storage.keys(layout.release_file(bundle.manifest.version, ""))):
        storage.delete(key)
    publish(storage, bundle)
