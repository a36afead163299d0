"""params.yaml as types: every setting that shapes a release, checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from editing.errors import DataError

SPLITS = ("train", "reference", "calibration", "gate", "test", "traffic")


class Section(BaseModel):
    """A frozen part of params.yaml; an unknown name is an error, not ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DataParams(Section):
    dataset: str = "digits"
    root: str = ""
    image_shape: tuple[int, int, int] | None = None
    classes: tuple[str, ...] = ()
    splits: dict[str, int]


class ModelParams(Section):
    architecture: str
    arguments: dict[str, int | float | str | bool] = {}
    mean: tuple[float, ...]
    std: tuple[float, ...]
    slots: int = Field(default=256, ge=1)
    weights: str = ""
    weights_sha256: str = ""
    plugins: tuple[str, ...] = ()


class TrainParams(Section):
    method: Literal["editable", "plain"] = "editable"
    epochs: int = Field(ge=1)
    batch: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    shift: int = Field(default=0, ge=0)
    flip: bool = False
    editable_epochs: int = Field(default=20, ge=1)
    edit_weight: float = Field(default=1.0, ge=0)
    locality_weight: float = Field(default=1.0, ge=0)
    scope: str = "chain3"


class ViewParams(Section):
    fitting: int = Field(default=17, ge=1)
    unseen: int = Field(default=8, ge=1)
    max_shift: float = Field(default=0.08, ge=0, lt=1)
    flip: bool = False
    light: float = Field(default=0.15, ge=0, lt=1)
    noise: float = Field(default=0.02, ge=0, lt=1)


class EditParams(Section):
    editor: str = "patch"
    alpha: float = Field(default=0.0, ge=0, lt=1)
    gamma: float = Field(default=1.0, ge=0)
    scope: str = "chain3"
    steps: int = Field(default=10, ge=1)
    rule: dict[str, float] = {}
    penalty: float = Field(default=0.0, ge=0)


class GateParams(Section):
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    drawdown: float = Field(gt=0, lt=1)
    negative_flips: float = Field(gt=0, lt=1)
    root_negative_flips: float = Field(default=0.06, gt=0, lt=1)
    recall_drop: float = Field(gt=0, lt=1)
    boundary: float = Field(default=0.2, gt=0, le=1)
    boundary_flips: float = Field(gt=0, lt=1)
    trigger: float = Field(default=0.3, gt=0, lt=1)
    reach: float = Field(gt=0, le=1)
    reach_tolerance: float = Field(default=0.001, ge=0, lt=1)
    generalization: float = Field(ge=0, le=1)
    accuracy: float = Field(ge=0, le=1)
    parity: float = Field(gt=0)


class TrustParams(Section):
    quorum: int = Field(default=1, ge=1)
    trusted: tuple[str, ...] = ()
    trusted_needed: bool = False
    per_reporter: int = Field(default=1000, ge=1)
    per_class: int = Field(default=1000, ge=1)
    patience_days: float = Field(default=30, gt=0)


class DeferralParams(Section):
    attempts: int = Field(default=5, ge=1)
    nights: int = Field(default=3, ge=1)
    views: int = Field(default=4, ge=0)
    probes: int = Field(default=10_000, ge=1)
    tests: int = Field(default=64, ge=1)


class ApprovalParams(Section):
    minutes: float = Field(default=60, ge=0)


class Params(Section):
    """The whole of params.yaml."""

    seed: int = 0
    data: DataParams
    model: ModelParams
    train: TrainParams
    views: ViewParams
    edit: EditParams
    gate: GateParams
    trust: TrustParams = TrustParams()
    deferral: DeferralParams = DeferralParams()
    approval: ApprovalParams = ApprovalParams()


def load_params(path: Path = Path("params.yaml")) -> Params:
    """params.yaml, checked; raises DataError naming the setting that is wrong."""
    try:
        return Params.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; run in the folder that holds params.yaml and dvc.yaml") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
