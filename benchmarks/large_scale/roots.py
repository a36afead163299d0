"""What `benchmarks.large_scale` edits: networks by name, photos as their features, the edits, and rates that are tuned.

Everything that costs is kept in the cache, keyed by what it depends on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import benchmarks.large_scale.densenet  # noqa: F401 - registers its architecture
from benchmarks.large_scale.bench import Case, FoldedControl, OnFeatures
from benchmarks.large_scale.other_views import other_views
from benchmarks.large_scale.photos import PARTS, features_of, split_photos, through
from benchmarks.rows import kept_value
from errata.editing.editors.gradient import GradientEditor
from errata.editing.model import EditableModel, ModelSpec, load_model
from errata.editing.networks.imagenet import WEIGHTS, imagenet_outputs, read_published
from errata.editing.pretrained import load_weights
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import EditableSettings, ViewSettings
from errata.editing.studies.grace import Codebook
from errata.editing.studies.protocol import Control, draw_demands
from errata.editing.studies.replay import RehearsalPenalty
from errata.editing.studies.tuning import TuningSettings, tune
from errata.editing.training.distillation import train_without_labels
from errata.editing.views import fitting_views, unseen_views

ARCHITECTURE = "efficientnet_lite0"
VIEWS = ViewSettings(fitting=9, unseen=4, max_shift=0.08, flip=True)
STEPS = 10  # the paper's k
STARTS = {"head": 2.5e-3, "adapter": 3e-4}  # rates of RMSProp around which is searched
HEAD, CODEBOOK, PLAIN, EDITABLE = "head", "codebook", "plain", "editable"


def published(classes: Sequence[str], side: int) -> tuple[EditableModel, str]:
    """EfficientNet-Lite0 with its published weights, its outputs restricted to `classes`, and their digest."""
    known = WEIGHTS[ARCHITECTURE]
    spec = ModelSpec(ARCHITECTURE, tuple(classes), (side, side, 3), known.mean, known.std, {}, 1)
    name, content = read_published(ARCHITECTURE)
    network = EditableModel.from_spec(spec).eval()
    load_weights(network, content, name, imagenet_outputs(classes))
    return network, known.sha256


def saved(folder: Path) -> tuple[EditableModel, str]:
    """The network that `save_model` wrote into `folder`, and the digest of its weights."""
    return load_model(folder), hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


class Bench:
    """One network and one seed: roots by name, their control photos and the cases, all as features."""

    def __init__(self, chosen: argparse.Namespace, seed: int) -> None:
        self.chosen, self.seed, self.cache = chosen, seed, chosen.cache
        classes, self.photos = split_photos(chosen.root, chosen.sizes)
        if chosen.train_photos:  # evenly over the classes, which lie one after the other
            self.photos["train"] = self.photos["train"].thinned(chosen.train_photos)
        self.network, self.weights = saved(chosen.model) if chosen.model else published(classes, chosen.side)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # a third faster
        self.features = {
            part: features_of(self.network, self.photos[part], chosen.side, self.weights, chosen.cache / "features")
            for part in PARTS
        }

    def images(self, part: str) -> Tensor:
        """Features of a part as what `OnFeatures` takes, `[n, d, 1, 1]`."""
        return self.features[part][:, :, None, None]

    @cached_property
    def wrong(self) -> Tensor:
        """Which photos of the pool the network gets wrong."""
        with torch.no_grad():
            found: Tensor = self.network.classify(self.features["pool"]).argmax(1) != self.photos["pool"].labels
        return found

    @cache  # noqa: B019 - few of them
    def root(self, name: str) -> OnFeatures:
        """The head; behind a codebook; with an adapter as it is inserted; or with one that was trained to be edited."""
        head = OnFeatures.of(self.network)
        if name == HEAD:
            return head
        if name == CODEBOOK:
            return OnFeatures(head.spec, head.backbone, Codebook(head.head, 1)).eval()
        torch.manual_seed(self.seed)
        root = head.adapted(self.chosen.adapter)
        if name == EDITABLE:
            path = self.cache / f"editable-{self.digest(name)}.pt"
            if not path.exists():
                seed = self.seed + 1
                record = train_without_labels(root, self.features["train"], self.settings, self._said, seed=seed)
                told = {"rule": asdict(record.rule), "epochs": [asdict(one) for one in record.training.epochs]}
                torch.save({"state": root.state_dict(), "told": json.dumps(told)}, path)
            root.load_state_dict(torch.load(path, weights_only=True)["state"])
        return root

    @cached_property
    def told(self) -> dict[str, Any]:
        """What Editable Training said: the learned `rule`, and its `epochs`."""
        self.root(EDITABLE)
        kept = torch.load(self.cache / f"editable-{self.digest(EDITABLE)}.pt", weights_only=True)
        found: dict[str, Any] = json.loads(kept["told"])
        return found

    def learned_rule(self) -> RMSProp:
        """The coefficients that Editable Training found."""
        return RMSProp(**self.told["rule"])

    @property
    def settings(self) -> EditableSettings:
        """Of Editable Training."""
        chosen = self.chosen
        return EditableSettings(
            scope="adapter", epochs=chosen.epochs, batch=64, learning_rate=chosen.learning_rate, clip=1.0,
            edit_weight=chosen.edit_weight, locality_weight=chosen.locality_weight,
        )  # fmt: skip

    def digest(self, root: str) -> str:
        """What measurements on the root of that name depend on: photos, network, seed, and how it was trained."""
        chosen = self.chosen
        told = f"{self.weights} {chosen.side} {list(chosen.sizes)} {self.seed}"
        told += f" {chosen.adapter}" if root in (PLAIN, EDITABLE) else ""
        told += f" {self.settings!r}" if root == EDITABLE else ""
        told += f" {chosen.train_photos}" if root == EDITABLE and chosen.train_photos else ""
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    @staticmethod
    def _said_of_tuning(line: str) -> None:
        print("  " + line, flush=True)

    @staticmethod
    def _said(epoch: Any) -> None:
        print(f"epoch {epoch.number}: {epoch.measures} ({epoch.seconds:.0f} s)", flush=True)

    @cache  # noqa: B019
    def control(self, name: str) -> Control:
        """The control photos as the root sees them."""
        return FoldedControl(self.root(name), self.images("control"), self.photos["control"].labels, batch=1000)

    def cases(self, natural: bool) -> list[Case]:
        """The edits, always the same ones in the same order; views are drawn of the first of them."""
        pool, chosen = self.photos["pool"], self.chosen
        if natural:
            rows = self.wrong.nonzero()[:, 0]
            rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed + 2))]
            wanted = [(int(row), int(pool.labels[row])) for row in rows]
        else:
            drawn = draw_demands(len(pool.paths), len(pool.paths), len(self.network.spec.classes), seed=self.seed)
            wanted = [(each.image, each.expected) for each in drawn]
        wanted = wanted[: chosen.edits]
        return [self._case(*each, natural, number < chosen.views) for number, each in enumerate(wanted)]

    def _case(self, row: int, expected: int, natural: bool, with_views: bool) -> Case:
        own = self.features["pool"][row].clone()
        views = self._views(row) if with_views else own[None]
        fitted, unseen, families = views.tensor_split((VIEWS.fitting, VIEWS.fitting + VIEWS.unseen))
        if with_views:  # computed in another batch, the same features may differ in their last bits
            own = fitted[0].clone()
        same = self.wrong & (self.photos["pool"].labels == expected)
        same[row] = False
        others = self.features["pool"][same] if natural else views[:0]
        return Case(self._key(row), expected, own, fitted, unseen, families, others)

    def _views(self, row: int) -> Tensor:
        folder = self.cache / "views" / f"{self.weights[:12]}-{self.chosen.side}"
        path = folder / f"{self._key(row)}.npy"
        if not path.exists():
            image = self.photos["pool"].image(row, self.chosen.side)
            drawn = torch.cat([fitting_views(image, VIEWS), unseen_views(image, VIEWS), other_views(image)])
            folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".part").open("wb") as file:
                np.save(file, through(self.network, drawn, self.chosen.side).numpy())
            path.with_suffix(".part").replace(path)
        return torch.from_numpy(np.load(path))

    def _key(self, row: int) -> str:
        return f"{row:06}-{self.photos['pool'].paths[row].stem}"

    def tuned(self, root: str, scope: str, penalty: bool = False) -> GradientEditor:
        """RMSProp with the coefficients of least drawdown on validation edits, which are reference photos."""

        def search() -> dict[str, Any]:
            photos = self.photos["reference"]
            control = FoldedControl(self.root(root), self.images("reference")[::2], photos.labels[::2])
            demands = draw_demands(
                self.chosen.tuning_edits, len(control.labels), len(self.network.spec.classes), seed=1
            )
            spans = (1e-1, 1e3) if penalty else None
            start = STARTS[scope]
            settings = TuningSettings(self.chosen.trials, (start / 10, start * 10), spans, penalty=RehearsalPenalty)
            found = tune(RMSProp(start, 0.5), [scope], control, demands, settings, STEPS, self._said_of_tuning)
            held = found.editor.penalty
            weight = held.weight if isinstance(held, RehearsalPenalty) else 0.0
            return {"rule": asdict(found.editor.rule), "penalty": weight, "success": found.success}

        name = f"{root}-{self.digest(root)}-{scope}{'-replay' if penalty else ''}"
        name += f"-{self.chosen.trials}-{self.chosen.tuning_edits}"
        found = kept_value(self.cache / "tuned" / f"{name}.json", search)
        held = RehearsalPenalty(found["penalty"]) if penalty else None
        return GradientEditor(RMSProp(**found["rule"]), Scope(scope), STEPS, penalty=held)
