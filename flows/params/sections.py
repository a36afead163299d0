"""The sections of params.yaml. What it leaves out has the default given here, which is the digits demonstration's.

Each section's type is what the code takes: views, training and trust are declared beside their code, the rest here.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from errata.data.belief.trust import TrustSettings
from errata.data.inbox.batch_rows import BatchLimits
from errata.data.records import Sha256
from errata.data.releases.manifest import MOST_HOURS
from errata.editing.networks.imagenet import PUBLISHED, WEIGHTS
from errata.editing.settings import FEW, WIDE, EditableSettings, KindSettings, Section, ViewSettings, parameter

Argument = int | float | str | bool
Event = Literal["refused", "inconclusive", "approval", "failed", "budget", "waiting"]
EditorName = Literal[
    "patch", "natural", "natural_rule", "gd", "scaled_gd", "polyak", "rprop", "rmsprop", "momentum", "adam"
]


class SplitSizes(Section):
    """Images in each part of the data set; one may be -1: all the rest."""

    train: int = parameter(350, "the root model learns from them", "images", ge=-1)
    reference: int = parameter(250, "editors may fit to them", "images", ge=-1)
    calibration: int = parameter(300, "thresholds are set on them", "images", ge=-1)
    gate: int = parameter(350, "the release decision rests on them, and nothing else does", "images", ge=-1)
    test: int = parameter(147, "reported, never decided on", "images", ge=-1)
    traffic: int = parameter(400, "stand for the day's requests, in `errata demo`; 0: none", "images", ge=-1)
    sealed: int = parameter(0, "looked at by `errata control sealed` alone; 0: none", "images", ge=-1)


class DataParams(Section):
    """The data set, and how it is split: disjoint, the same for the same seed."""

    dataset: Literal["digits", "cifar10", "folder", "csv", "webdataset", "parquet"] = parameter(
        "digits", "digits are embedded; docs/your-model.md says what the others are"
    )
    root: str = parameter("", "where the data set lies, for all but digits", "path")
    image_shape: tuple[int, int, int] | None = parameter(
        None, "what images are fitted to: height, width, channels; null: as the data set has them", "pixels"
    )
    classes: tuple[str, ...] = parameter((), "the classes in the model's order; empty: in alphabetical order")
    columns: tuple[str, ...] = parameter(
        (), "columns of the table, a camera or a site say, by whose values the gate split is judged in slices"
    )
    gates: tuple[Sha256, ...] = parameter(
        (), "gate splits that `errata control add` brought, each by the SHA-256 of its file; the last one judges"
    )
    splits: SplitSizes = SplitSizes()


def _arguments(data: dict[str, Any]) -> dict[str, Argument]:
    """A network for digits; of another architecture nothing is known."""
    return {"width": 16, "blocks": 1} if data.get("architecture") == "resnet" else {}


def _mean(data: dict[str, Any]) -> tuple[float, ...]:
    """What goes with published weights; else the digits'."""
    known = WEIGHTS.get(data.get("architecture", ""))
    return known.mean if known else (0.3,)


def _std(data: dict[str, Any]) -> tuple[float, ...]:
    known = WEIGHTS.get(data.get("architecture", ""))
    return known.std if known else (0.38,)


def _weights(data: dict[str, Any]) -> str:
    return PUBLISHED if data.get("architecture") in WEIGHTS else ""


def _weights_sha256(data: dict[str, Any]) -> str:
    known = WEIGHTS.get(data.get("architecture", ""))
    return known.sha256 if known and data.get("weights") == PUBLISHED else ""


class ModelParams(Section):
    """The root model."""

    architecture: str = parameter("resnet", "its registered name")
    arguments: dict[str, Argument] = parameter(
        _arguments, "what the architecture takes by name; this default is for resnet, else there are none"
    )
    mean: tuple[float, ...] = parameter(
        _mean, "mean of the pixels of each channel; that of published weights is known", "share of the range of a pixel"
    )
    std: tuple[float, ...] = parameter(
        _std,
        "standard deviation of the pixels of each channel; that of published weights is known",
        "share of the range of a pixel",
    )
    slots: int = parameter(256, "how many corrections the model can hold", "corrections", ge=1)
    directions: int = parameter(
        0,
        f"how many directions of the features slots look at; 0: all of up to {WIDE} features, {FEW} of more, which "
        "costs an answer less",
        "directions",
        ge=0,
    )
    weights: str = parameter(
        _weights,
        "a file of weights to take instead of training; `published`, the default of efficientnet_lite0: those of its "
        "makers, which come with the extra `photos`",
        "path",
    )
    weights_sha256: str = parameter(
        _weights_sha256,
        "that file's digest, which ties the root to it; of published weights it is known",
        "hexadecimal",
    )
    outputs: tuple[int, ...] = parameter(
        (),
        "which outputs of the given weights the classes are, in their order, counted from 0; empty: all of them, of "
        "published weights those that WordNet calls as the classes are called",
    )
    adapter: int = parameter(
        0,
        "hidden units of a residual adapter before the head, the stage `adapter`: what is trained to be edited where "
        "weights were given; 0: none",
        "units",
        ge=0,
    )
    plugins: tuple[str, ...] = parameter((), "modules to import first, which register architectures")


class TrainParams(EditableSettings):
    """How the root is trained: plainly, and then by Editable Training where the method says so."""

    method: Literal["auto", "editable", "plain"] = parameter(
        "auto",
        "editable: Editable Training (Sinitsin et al. 2020, objective 2) goes on where plain training ends; given "
        "weights are so trained without labels, in the layers of `scope` alone; auto: the same, but given weights stay "
        "as they are",
    )
    editable_epochs: int = parameter(
        20, "passes of Editable Training, at a tenth of the learning rate with a norm clipped at 1", "epochs", ge=1
    )
    given_rate: float = parameter(1e-4, "highest learning rate of Adam where weights were given", gt=0)


class EditParams(Section):
    """The editor, and what it can be set to."""

    editor: EditorName = parameter("patch", "the calibrated patch, the natural gradient, or gradient descent by a rule")
    alpha: float = parameter(
        0.0, "patch: control images on which one slot may fire; 0: on no calibration image", "share", ge=0, lt=1
    )
    gamma: float = parameter(1.0, "patch: weight of the scatter of an image's own views", ge=0)
    eps: float = parameter(
        0.01, "patch: ridge of the covariance of control features", "share of their mean variance", gt=0
    )
    margin: float = parameter(2.0, "patch: by how much the expected class must win on fitted views", "logits", ge=0)
    faintest: float = parameter(
        0.1,
        "patch: least activation that counts as firing on the image itself",
        "standard deviations of scores of control images",
        ge=0,
    )
    weakest: float = parameter(
        0.3,
        "patch: a fitted view must win where its slot fires at least so",
        "share of the activation on the image",
        ge=0,
        le=1,
    )
    tau: float = parameter(
        0.3, "patch: how far a slot's threshold is raised towards its views' scores", "share of the way", ge=0, lt=1
    )
    tau_quantile: float = parameter(
        0.25, "patch: which of the views' scores that is, never above the image's own", "quantile", ge=0, le=1
    )
    fallback: Literal["defer", "head"] = parameter(
        "defer",
        "patch: a correction that no slot can tell from control images is deferred, or moves the head for all images",
    )
    scope: str = parameter("chain3", "all but patch: layers to edit: whole, head, a stage or a pattern of names")
    steps: int = parameter(10, "all but patch: most steps of an edit", "steps", ge=1)
    rule_margin: float = parameter(
        0.05,
        "all but patch: by how much the expected class must win, to survive rounding in the exported file",
        "logits",
        ge=0,
    )
    rule: dict[str, float] = parameter(
        {}, "rules: coefficients; empty: those that Editable Training learned, else the rule's own"
    )
    penalty: float = parameter(0.0, "rules: weight of an elastic penalty around the root (EWC)", ge=0)
    kinds: bool = parameter(True, "patch: look for failures that many corrections share, and mend those as a whole")
    kind: KindSettings = KindSettings()


class GateParams(Section):
    """What a release must prove: one-sided bounds must lie within their limits, at every look at one gate split."""

    confidence: float = parameter(
        0.95,
        "that no candidate beyond a limit passes, however often one gate split is looked at",
        "probability",
        gt=0.5,
        lt=1,
    )
    looks: int = parameter(
        10, "half of the error (1 - confidence) is spent over so many looks at a gate split", "looks", ge=1
    )
    drawdown: float = parameter(
        0.05, "most error added, against the root and against the live release", "share of images", gt=0, lt=1
    )
    negative_flips: float = parameter(0.05, "most images right before and wrong after", "share of images", gt=0, lt=1)
    root_negative_flips: float = parameter(
        0.06, "most negative flips of a new root against the live release", "share of images", gt=0, lt=1
    )
    recall_drop: float = parameter(0.35, "most recall lost by any class", "share of its images", gt=0, lt=1)
    boundary: float = parameter(
        0.2,
        "images that count as near a boundary: those of the least margins of the root",
        "share of images",
        gt=0,
        le=1,
    )
    boundary_flips: float = parameter(0.2, "most negative flips among those", "share of them", gt=0, lt=1)
    slice_flips: float = parameter(
        0.35,
        "most negative flips in any slice: a class pair, a declared column's value, a cluster of features",
        "share of its images",
        gt=0,
        lt=1,
    )
    slice_images: int = parameter(
        35,
        "fewest images of a slice that counts; `errata control show` says how many flips among so many pass",
        "images",
        ge=1,
    )
    trigger: float = parameter(
        0.3,
        "most images that what corrections to one class have in common may turn to it",
        "share of images",
        gt=0,
        lt=1,
    )
    kind_gain: float = parameter(
        0.1, "fewest held-out corrections of a kind that come out right by it", "share of them", ge=0, lt=1
    )
    kind_drawdown: float = parameter(
        0.03, "most error added to labelled images of a kind, which must be there", "share of them", ge=0, lt=1
    )
    reach: float = parameter(
        0.3,
        "most images whose output changes; 1 for editors that change weights shared by all images",
        "share of images",
        gt=0,
        le=1,
    )
    reach_tolerance: float = parameter(0.001, "a probability that moves by more counts as changed", ge=0, lt=1)
    generalization: float = parameter(
        0.5, "fewest unseen views of corrected images that come out right", "share of views", ge=0, le=1
    )
    accuracy: float = parameter(0.85, "least accuracy", "share of images", ge=0, le=1)
    shadow: float = parameter(
        0.05, "most requests that a candidate in shadow would answer otherwise than what is live", "share", gt=0, lt=1
    )
    shadow_requests: int = parameter(
        0,
        "how many requests a candidate must have been asked about in shadow before it is released; 0: none",
        "requests",
        ge=0,
    )
    parity: float = parameter(0.001, "largest difference between torch and ONNX Runtime", "logits", gt=0)


class DeferralParams(Section):
    """When a batch does not pass: find the corrections that do harm, leave them out, try again."""

    attempts: int = parameter(
        5, "candidates in one night by who does harm; one more goes by the gate's counts", "candidates", ge=1
    )
    nights: int = parameter(3, "how often a report is left out before it is quarantined as harmful", "nights", ge=1)
    views: int = parameter(4, "views of each labelled image that are probed beside it", "views", ge=0)
    probes: int = parameter(10_000, "most images and views that are probed", "images", ge=1)
    tests: int = parameter(64, "most edits of groups in an attribution", "edits", ge=1)


class RetentionParams(Section):
    """What `errata prune` leaves in the store."""

    releases: int = parameter(30, "newest releases that keep their weights, however old they are", "releases", ge=2)
    days: float = parameter(
        365.0, "how long older releases keep their weights, and settled and refused reports their images", "days", ge=0
    )


class ApprovalParams(Section):
    """What a person may decide."""

    minutes: float = parameter(
        60.0, "how long an inconclusive night waits for a person on Prefect's page; 0: it never asks", "minutes", ge=0
    )


class PointerParams(Section):
    """live.json, which says what inference serves."""

    valid_hours: float = parameter(
        0.0,
        "how long clients start on live.json unless a night renews it, as each does: several nights, say 72. 0: ever",
        "hours",
        ge=0,
        le=MOST_HOURS,
    )


class NotifyParams(Section):
    """What people are told of nights by webhook; where to and by which key is ERRATA_WEBHOOK, ERRATA_WEBHOOK_SECRET."""

    events: tuple[Event, ...] = parameter(
        get_args(Event),
        "refused: the gate said no; inconclusive; approval: a run waits for a person; failed; budget: the ledger nears "
        "what the root can carry; waiting: claims wait for more people",
    )


class Params(Section):
    """The whole of params.yaml."""

    seed: int = parameter(0, "of all that is drawn at random: splits, training, views", ge=0)
    data: DataParams = DataParams()
    model: ModelParams = ModelParams()
    train: TrainParams = TrainParams()
    views: ViewSettings = ViewSettings()
    edit: EditParams = EditParams()
    gate: GateParams = GateParams()
    batches: BatchLimits = BatchLimits()
    trust: TrustSettings = TrustSettings()
    deferral: DeferralParams = DeferralParams()
    approval: ApprovalParams = ApprovalParams()
    retention: RetentionParams = RetentionParams()
    pointer: PointerParams = PointerParams()
    notify: NotifyParams = NotifyParams()
