"""The stage `prepare`: the data set split into disjoint parts, recorded by digest."""

from __future__ import annotations

from pathlib import Path

from data.datasets import load_dataset
from data.splits import make_splits, save_splits
from flows.params import Params
from flows.workspace import Workspace


def prepare(workspace: Workspace, params: Params) -> None:
    """Split the data set into disjoint parts."""
    root = Path(params.data.root) if params.data.root else None
    dataset = load_dataset(params.data.dataset, root, image_shape=params.data.image_shape)
    if params.data.classes:
        dataset = dataset.ordered(params.data.classes)
    sizes = {name: size for name, size in params.data.splits if size != 0}
    save_splits(make_splits(dataset, sizes, params.seed), workspace.splits)
