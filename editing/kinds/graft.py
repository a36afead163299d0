"""The tails of kinds in an ONNX graph: each runs on those images alone on which its kind fires, or not at all.

The exporter cannot trace a batch whose size depends on what is in it. So the model is traced with one placeholder a
kind, `KindTail(hidden, logits, kind)`, the tail by itself, and the one is put in place of the other here:

    rows    = NonZero(kind == k)
    logits' = If(any(kind == k), ScatterND(logits, rows, tail(Gather(hidden, rows))), logits)

Every weight is an initializer of the main graph, so that what compares two files looks in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

DOMAIN, PLACEHOLDER = "errata", "KindTail"
SHARED = "model."  # what the names of the model's weights begin with in `proto`


def graft_tails(proto: Any, tails: Sequence[Any], replaced: Sequence[Mapping[str, NDArray[Any]]]) -> Any:
    """`proto` with the graph of one of `tails` in place of each placeholder, in order.

    `replaced` has for each kind the weights, by their names in its tail, that are its own; they become initializers
    `kind0.NAME` and so on. Others are the model's, under the same name in both behind `SHARED`.
    """
    from onnx import numpy_helper  # noqa: PLC0415

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    made = type(proto)()
    made.CopyFrom(proto)
    del made.graph.node[:], made.graph.initializer[:]
    kinds = iter(enumerate(zip(tails, replaced, strict=True)))
    for node in proto.graph.node:
        if node.domain != DOMAIN:
            made.graph.node.append(node)
            continue
        number, (tail, own) = next(kinds)
        at = f"kind{number}."
        names = {tail.graph.input[0].name: f"{at}hidden", tail.graph.output[0].name: f"{at}logits"}
        for tensor in tail.graph.initializer:
            shared = f"{SHARED}{tensor.name}"
            names[tensor.name] = shared if shared in weights and tensor.name not in own else at + tensor.name
            if names[tensor.name] not in weights:
                content = own.get(tensor.name, numpy_helper.to_array(tensor))
                weights[names[tensor.name]] = numpy_helper.from_array(content, names[tensor.name])
        for name, value in (("number", np.array(number, np.int64)), ("axis", np.array([0], np.int64))):
            weights[at + name] = numpy_helper.from_array(value, at + name)
        made.graph.node.extend(_branches(node, tail, names, at))
    made.graph.initializer.extend(weights[name] for name in sorted(weights))
    for entry in [each for each in made.opset_import if each.domain == DOMAIN]:
        made.opset_import.remove(entry)
    return made


def _branches(placeholder: Any, tail: Any, names: dict[str, str], at: str) -> list[Any]:
    """What stands for a placeholder: which images its kind fires on, and the two branches."""
    from onnx import TensorProto, helper  # noqa: PLC0415

    hidden, logits, which = placeholder.input
    inside = [
        _node("NonZero", [f"{at}fires"], f"{at}row"),
        _node("Squeeze", [f"{at}row", f"{at}axis"], f"{at}rows"),
        _node("Gather", [hidden, f"{at}rows"], f"{at}hidden", axis=0),
        *(_renamed(each, names, at) for each in tail.graph.node),
        _node("Transpose", [f"{at}row"], f"{at}places", perm=[1, 0]),
        _node("ScatterND", [logits, f"{at}places", f"{at}logits"], f"{at}changed"),
    ]
    kind = tail.graph.output[0].type.tensor_type.elem_type
    changed, unchanged = (helper.make_tensor_value_info(at + name, kind, None) for name in ("changed", "unchanged"))
    return [
        _node("Equal", [which, f"{at}number"], f"{at}fires"),
        _node("Cast", [f"{at}fires"], f"{at}counts", to=TensorProto.INT64),
        _node("ReduceMax", [f"{at}counts"], f"{at}most", keepdims=0),
        _node("Cast", [f"{at}most"], f"{at}any", to=TensorProto.BOOL),
        helper.make_node(
            "If",
            [f"{at}any"],
            [placeholder.output[0]],
            name=f"{at}if",
            then_branch=helper.make_graph(inside, f"{at}then", [], [changed]),
            else_branch=helper.make_graph(
                [_node("Identity", [logits], f"{at}unchanged")], f"{at}else", [], [unchanged]
            ),
        ),
    ]


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper  # noqa: PLC0415

    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def _renamed(node: Any, names: Mapping[str, str], prefix: str) -> Any:
    """A copy of a node of the tail, every value under its name in the whole."""
    made = type(node)()
    made.CopyFrom(node)
    made.name = prefix + node.name
    made.input[:] = [names.get(name, prefix + name) if name else "" for name in node.input]
    made.output[:] = [names.get(name, prefix + name) for name in node.output]
    return made
