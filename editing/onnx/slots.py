"""What a model's slots add to its logits, in an ONNX graph: computed where one fires, skipped where none does.

    silent       = ReduceSum(relu(scores)) <= 0
    logits, slot = If(silent, (bare, -1), (bare + slots @ values, which slot decided))

Nearly all images fire no slot, and a row of values has as many numbers as there are classes: what is not computed is
not read. Skipping gives the same bits, for zeros times finite values add nothing. A sum that is NaN is not silent. The
exporter traces no branches, so the model is traced with a placeholder, `Slots(bare, slots, values)`, and this takes its
place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DOMAIN, PLACEHOLDER = "errata", "Slots"


def placed(bare: Tensor, slots: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Logits `[n, classes]`, and which slot decided, int64 `[n]`, to be traced; from the head's logits `[n, classes]`,
    how strongly each slot fires `[n, slots]` and what it adds `[slots, classes]`."""
    logits, slot = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{PLACEHOLDER}",
        (bare, slots, values),
        dtypes=(bare.dtype, torch.int64),
        shapes=(bare.shape, bare.shape[:1]),
        version=1,
    )
    return logits, slot


def with_branches(proto: Any) -> Any:
    """`proto` with both branches in place of the placeholder; weights stay initializers of the main graph."""
    made = type(proto)()
    made.CopyFrom(proto)
    del made.graph.node[:]
    for node in proto.graph.node:
        made.graph.node.extend(_branches(node) if node.op_type == PLACEHOLDER else [node])
    if all(node.domain != DOMAIN for node in made.graph.node):
        for entry in [each for each in made.opset_import if each.domain == DOMAIN]:
            made.opset_import.remove(entry)
    return made


def _branches(placeholder: Any) -> list[Any]:
    from onnx import TensorProto, helper  # noqa: PLC0415

    bare, slots, values = placeholder.input

    def outputs(branch: str) -> list[Any]:
        kinds = (("logits", TensorProto.FLOAT), ("slot", TensorProto.INT64))
        return [helper.make_tensor_value_info(f"{branch}_{name}", kind, None) for name, kind in kinds]

    silent = [
        _node("Identity", [bare], "silent_logits"),
        _node("Shape", [bare], "silent_count", start=0, end=1),
        _node(
            "ConstantOfShape",
            ["silent_count"],
            "silent_slot",
            value=helper.make_tensor("", TensorProto.INT64, [1], [-1]),
        ),
    ]
    firing = [
        _node("Gemm", [slots, values, bare], "firing_logits"),
        _node("ArgMax", ["firing_logits"], "firing_class", axis=1, keepdims=0),
        _node("Gather", [values, "firing_class"], "firing_columns", axis=1),
        _node("Transpose", ["firing_columns"], "firing_rows", perm=[1, 0]),
        _node("Mul", [slots, "firing_rows"], "firing_given"),
        _node("Constant", [], "firing_zero", value_float=0.0),
        _node("Constant", [], "firing_least", value_float=float("-inf")),
        _node("Greater", [slots, "firing_zero"], "firing_fires"),
        _node("Where", ["firing_fires", "firing_given", "firing_least"], "firing_candidates"),
        _node("ArgMax", ["firing_candidates"], "firing_most", axis=1, keepdims=0),
        _node("Constant", [], "firing_axes", value_ints=[1]),
        _node("ReduceMax", [slots, "firing_axes"], "firing_strongest", keepdims=0),
        _node("Greater", ["firing_strongest", "firing_zero"], "firing_any"),
        _node("Constant", [], "firing_none", value_int=-1),
        _node("Where", ["firing_any", "firing_most", "firing_none"], "firing_slot"),
    ]
    return [
        _node("ReduceSum", [slots], "slots_sum", keepdims=0),
        _node("Constant", [], "slots_zero", value_float=0.0),
        _node("LessOrEqual", ["slots_sum", "slots_zero"], "slots_silent"),
        helper.make_node(
            "If",
            ["slots_silent"],
            list(placeholder.output),
            name="slots_if",
            then_branch=helper.make_graph(silent, "silent", [], outputs("silent")),
            else_branch=helper.make_graph(firing, "firing", [], outputs("firing")),
        ),
    ]


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper  # noqa: PLC0415

    return helper.make_node(kind, inputs, [output], name=output, **attributes)
