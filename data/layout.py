"""Every key of the store, in one place. What each holds is told in docs/store.md."""

from __future__ import annotations

import datetime

INBOX = "reports/inbox/"
BULK = "reports/bulk/"
QUARANTINE = "reports/quarantine/"
SETTLED = "reports/settled/"
DEFERRED = "reports/deferred/"
BATCHES = "reports/batches/"
WAITING = "reports/waiting.json"
IMAGES = "images/"
RELEASES = "releases/"
LOG = "log/"
OBSERVATIONS = "observations/"
CORRECTIONS = "corrections/"
RETRACTED = "retracted/"
ERASED = "erased/"
REMOVED = "removed/"
LOOKS = "looks/"
GATES = "gates/"
LABELLED = "labelled/"
KIND_DECISIONS = "kinds/"
QUESTIONS = "questions/"
SHADOW = "shadow/"
CANDIDATE = "candidate.json"
LIVE = "live.json"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MODEL_SIGNATURE = "model.sig"
SBOM = "sbom.cdx.json"
BESIDE = frozenset({MANIFEST, SIGNATURE, MODEL_SIGNATURE, SBOM})  # of a bundle's files those that no manifest names
CLASSIFIER = "classifier"
TRITON_CONFIG = f"{CLASSIFIER}/config.pbtxt"
LABELS = f"{CLASSIFIER}/labels.txt"
DELTA = "patch.safetensors"
REPORT = "report.html"


def inbox_report(report_id: str) -> str:
    """One report that waits for the night."""
    return f"{INBOX}{report_id}.json"


def quarantined_report(report_id: str) -> str:
    """One report that could not be used, with its reason."""
    return f"{QUARANTINE}{report_id}.json"


def settled_report(version: int, report_id: str) -> str:
    """One report that release `version` consumed."""
    return f"{SETTLED}{version}/{report_id}.json"


def deferred_report(report_id: str) -> str:
    """How often a report that waits in the inbox was left out of a release."""
    return f"{DEFERRED}{report_id}.json"


def batch_marker(batch_id: str) -> str:
    """How many lines of a batch in the inbox are filed."""
    return f"{BATCHES}{batch_id}.json"


def image(sha256: str) -> str:
    """The evidence: an image file as it was sent, under the digest of its bytes."""
    return f"{IMAGES}{sha256}"


def release_file(version: int, name: str) -> str:
    """One file of a release's bundle; `name` may hold slashes."""
    return f"{RELEASES}{version}/{name}"


def model_file(version: int) -> str:
    """The ONNX file's name in a bundle, which is a Triton model repository: model, version, file."""
    return f"{CLASSIFIER}/{version}/model.onnx"


def correction_image(identity: str) -> str:
    """What a correction's image looks like at the model's input size, under the digest of its pixels."""
    return f"{CORRECTIONS}{identity}.png"


def retraction(identity: str, number: int) -> str:
    """One decision about a correction, that it is withdrawn or back; zero-padded, so that the last one stands."""
    return f"{RETRACTED}{identity}/{number:08d}.json"


def erasure(number: int) -> str:
    """What somebody asked to be erased; zero-padded, so that listing is in order."""
    return f"{ERASED}{number:08d}/asked.json"


def erasure_done(number: int) -> str:
    """What came of it: nothing is left."""
    return f"{ERASED}{number:08d}/done.json"


def removal(version: int) -> str:
    """Which files of a release were removed on purpose."""
    return f"{REMOVED}{version}.json"


def removable(version: int) -> tuple[str, ...]:
    """The files of a bundle that may be removed on purpose, its weights and its page; the others are its lineage."""
    return model_file(version), DELTA, REPORT


def look(split: str, number: int, model: str) -> str:
    """That a model was judged on a split, each by its digest; zero-padded, so that listing is in order."""
    return f"{LOOKS}{split}/judged/{number:08d}-{model}.json"


def gate_images(sha256: str) -> str:
    """Labelled images that `errata control add` brought as a gate split."""
    return f"{GATES}{sha256}.npz"


def judging_images(split: str) -> str:
    """Which images a split holds that models are judged on, by the digests of their pixels."""
    return f"{LOOKS}{split}/images.txt"


def question(identity: str) -> str:
    """A question to a person about an image of the day's requests."""
    return f"{QUESTIONS}{identity}.json"


def labelled_image(identity: str) -> str:
    """The class of an image of the deployment that a person labelled; the image is that of a correction."""
    return f"{LABELLED}{identity}.json"


def kind_decision(number: int) -> str:
    """One decision about a kind; zero-padded, so that listing is in order."""
    return f"{KIND_DECISIONS}{number:08d}.json"


def log_entry(number: int) -> str:
    """One line of history; zero-padded, so that listing is in order."""
    return f"{LOG}{number:08d}.json"


def observations(at: datetime.datetime, run: str) -> str:
    """What one night observed of its reports; by time, so that listing is in order."""
    return f"{OBSERVATIONS}{at.astimezone(datetime.UTC):%Y%m%dT%H%M%SZ}-{run}.json"


def shadow_counts(candidate: str, at: datetime.datetime, run: str) -> str:
    """What one service saw of a candidate for a while; by time, so that listing is in order."""
    return f"{SHADOW}{candidate}/{at.astimezone(datetime.UTC):%Y%m%dT%H%M%SZ}-{run}.json"


def counted_at(key: str) -> datetime.datetime | None:
    """When that was, from a key of `shadow_counts`; None of any other key."""
    try:
        return datetime.datetime.strptime(stem(key).partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return None


def stem(key: str) -> str:
    """A key's last segment without its ending: `stem(inbox_report(r)) == r`."""
    return key.rsplit("/", 1)[-1].rsplit(".", 1)[0]
