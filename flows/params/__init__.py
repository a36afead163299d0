"""params.yaml as types: every parameter, with its default, checked as a whole before anything slow starts."""

from errata.flows.params.load import parse_params
from errata.flows.params.sections import (
    ApprovalParams,
    DataParams,
    DeferralParams,
    EditParams,
    GateParams,
    ModelParams,
    Params,
    RetentionParams,
    TrainParams,
)

__all__ = [
    "ApprovalParams",
    "DataParams",
    "DeferralParams",
    "EditParams",
    "GateParams",
    "ModelParams",
    "Params",
    "RetentionParams",
    "TrainParams",
    "parse_params",
]
