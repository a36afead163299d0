"""What the method can be set to: frozen records that are checked when they are made.

They are sections of params.yaml as they are (`flows.params`), or parts of one. Nothing slow is imported here, so that a
wrong value is told before torch is loaded.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen record of parameters. Raises ValidationError for an unknown name and for a value of another type."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=(), validate_default=True
    )


def parameter(default: Any, meaning: str, unit: str = "", **limits: Any) -> Any:
    """A field of a section: its default, what it means, its unit, and pydantic's limits (`ge`, `lt` and so on)."""
    extra: dict[str, Any] | None = {"unit": unit} if unit else None
    if callable(default):
        return Field(default_factory=default, description=meaning, json_schema_extra=extra, **limits)
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


WIDE, FEW = 512, 64


def usual_directions(features: int) -> int:
    """How many directions of so many features slots look at, unless told otherwise: few of more than WIDE."""
    return FEW if features > WIDE else features


class ViewSettings(Section):
    """How views of an image are drawn, and how many. Where a mirror image is of the same class, set `flip`."""

    fitting: int = parameter(17, "how many views an editor fits, the image itself among them", "views", ge=1)
    unseen: int = parameter(8, "how many views, none of them fitted, generalization is measured on", "views", ge=1)
    max_shift: float = parameter(
        0.13, "farthest shift each way, in whole pixels", "share of the image's side", ge=0, lt=1
    )
    flip: bool = parameter(False, "mirror half of the views left to right; never for digits or text")
    light: float = parameter(0.15, "largest change of brightness and of contrast", "share", ge=0, lt=1)
    noise: float = parameter(
        0.02, "highest standard deviation of Gaussian noise", "share of the range of a pixel", ge=0, lt=1
    )


class TrainingSettings(Section):
    """How a model is trained: SGD with Nesterov momentum and a one-cycle learning rate."""

    epochs: int = parameter(30, "passes over the training images", "epochs", ge=1)
    batch: int = parameter(64, "images in one step", "images", ge=2)
    learning_rate: float = parameter(0.1, "highest learning rate of the cycle", gt=0)
    momentum: float = parameter(0.9, "momentum of SGD", ge=0, lt=1)
    weight_decay: float = parameter(5e-4, "weight of the squared norm of the weights", ge=0)
    warmup: float = parameter(
        0.3, "steps in which the learning rate rises to its highest", "share of steps", gt=0, lt=1
    )
    shift: int = parameter(1, "farthest random shift each way, with black edges", "pixels", ge=0)
    flip: bool = parameter(False, "mirror half of the images left to right; never for digits or text")
    clip: float = parameter(0.0, "highest norm of the gradient of the weights; 0: any", ge=0)
    precision: Literal["float32", "bfloat16"] = parameter(
        "float32", "number type of forward passes; weights stay float32"
    )


class EditableSettings(TrainingSettings):
    """How Editable Training goes: plain training's settings, the objective's weights, and the edit it trains for.

    The weights are larger than the paper's (c_loc 0.01 and 0.1, from scratch): a few hundred batches on top of plain
    training must show. Clip the gradient at a norm of about 1: through the edit it is spiky, and at 10 it ruins the
    model.
    """

    scope: str = parameter("chain3", "layers that the model learns to have edited: whole, head, a stage or a pattern")
    edits: int = parameter(1, "edits that are tried in one step, of images of the batch", "edits", ge=1)
    edit_steps: int = parameter(10, "most steps of the edit that it learns to have made", "steps", ge=1)
    edit_weight: float = parameter(1.0, "weight of the constraint after the edit, c_edit in the paper", ge=0)
    locality_weight: float = parameter(1.0, "weight of the change of other predictions, c_loc in the paper", ge=0)
    local_share: float = parameter(
        1.0, "images on which that change is taken; 1 as in the paper, less for speed", "share of the batch", gt=0, le=1
    )
    learn_rule: bool = parameter(True, "train the coefficients of the edit's update rule too")


class ConceptSettings(Section):
    """Kinds of concept: mistakes on what images show, such as one thing in an unusual setting.

    They are looked for among corrections that fit no kind of image; features tell them apart, and the head alone is
    tuned.
    """

    most: int = parameter(0, "most kinds of concept; 0: none is looked for", "kinds", ge=0)
    alpha: float = parameter(
        0.008, "control images on which one may fire; 0: on no calibration image", "share", ge=0, lt=1
    )
    steps: int = parameter(80, "steps of Adam", "steps", ge=1)
    learning_rate: float = parameter(1e-3, "of Adam", gt=0)
    tuned_share: float = parameter(
        0.65, "how far it goes from the head before it was tuned to that after", "share", gt=0, le=1
    )
    locality: float = parameter(1.0, "weight of the divergence from the root on control images", ge=0)


class KindSettings(Section):
    """How kinds are found among corrections, when one fires, and how its change of the network is tuned."""

    members: int = parameter(8, "fewest corrections that one is fitted to; fewer stay pictures", "corrections", ge=2)
    most: int = parameter(8, "most kinds of image; 0: none is looked for", "kinds", ge=0)
    held_out: float = parameter(
        0.3, "corrections that no kind is fitted to: they prove what it does for others", "share", gt=0, lt=1
    )
    stages: int = parameter(
        0, "first stages whose statistics tell kinds apart; 0: all but the last that has weights", "stages", ge=0
    )
    alpha: float = parameter(
        0.002, "control images on which one kind may fire; 0: on no calibration image", "share", ge=0, lt=1
    )
    gamma: float = parameter(1.0, "weight of the scatter of a kind's corrections in its detector", ge=0)
    eps: float = parameter(0.01, "ridge of the covariance of statistics", "share of their mean variance", gt=0)
    scope: str = parameter(
        "", "layers that a kind tunes, parted by commas; empty: the last stage that has weights, and the head"
    )
    batch_norm_share: float = parameter(
        0.8, "how much a kind's own batch-norm statistics count beside the root's", "share", ge=0, le=1
    )
    steps: int = parameter(80, "steps of Adam; 0: batch-norm statistics alone", "steps", ge=0)
    learning_rate: float = parameter(1e-3, "of Adam", gt=0)
    tuned_share: float = parameter(
        0.5, "how far a kind goes from the layers before they were tuned to those after", "share", gt=0, le=1
    )
    batch: int = parameter(64, "views, and as many control images, in one step", "images", ge=1)
    questions: int = parameter(
        20,
        "most of the day's requests that a person is asked about, of those that one kind changes",
        "images",
        ge=0,
    )
    locality: float = parameter(1.0, "weight of the divergence from the root on control images", ge=0)
    concept: ConceptSettings = ConceptSettings()

    @property
    def of_concepts(self) -> KindSettings:
        """These settings with those of kinds of concept in place of the same of kinds of image."""
        return self.model_copy(update=self.concept.model_dump())
