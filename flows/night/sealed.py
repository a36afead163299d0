"""The sealed split: labelled images that no night looks at, asked now and then whether the selection has crept in.

Candidates that pass the gate split are selected by it, a little at each look. On images that had no part in any choice
that shows: there the live release breaks more, or errs more, than on the gate split. Each time somebody asks is a look
at the sealed split, counted as those at the gate split are, and spends the same error over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import fisher_exact

from errata.data.images import pixel_digest
from errata.data.releases.manifest import read_model, sha256
from errata.data.splits import load_split, read_record
from errata.editing.errors import DataError
from errata.editing.metrics import PairedOutcomes, compare_predictions, predicted_classes
from errata.editing.onnx.export import OnnxClassifier
from errata.flows.gate.spending import confidence_at, share_spent
from errata.flows.night.one_at_a_time import alone
from errata.flows.night.parent import root_digest
from errata.flows.night.state import Night
from errata.flows.releases.pointer import require_live, verified, vouch_for_looks

SPLIT = "sealed"


@dataclass(frozen=True)
class SealedAnswer:
    """The live release against its root on both splits, and whether chance explains the difference.

    `p_flips`, `p_error`: how often the sealed split would be at least so much worse by chance alone (Fisher's exact
    test, one-sided). `level` is what is left of the error for this look, for both questions together.
    """

    version: int
    look: int
    spent: float
    gate: PairedOutcomes
    sealed: PairedOutcomes
    p_flips: float
    p_error: float
    level: float

    @property
    def crept_in(self) -> bool:
        """Whether the sealed split is worse than chance explains."""
        return 2 * min(self.p_flips, self.p_error) <= self.level

    @property
    def sentence(self) -> str:
        """For a person."""
        if self.crept_in:
            return "the selection has crept in: `errata control add` brings new gate images"
        return "no more than chance explains"

    def lines(self) -> list[tuple[str, str]]:
        """Label and value, for any table."""

        def told(paired: PairedOutcomes) -> str:
            share = paired.negative_flip_rate
            return f"error {paired.error_after:.2%}, {paired.negative_flips} negative flips ({share:.2%}) of {paired.n}"

        return [
            ("gate split", told(self.gate)),
            ("sealed split", told(self.sealed)),
            ("by chance so much worse", f"flips {self.p_flips:.3g}, error {self.p_error:.3g}"),
            ("looks at the sealed split", f"{self.look}; {self.spent:.0%} of the error is spent"),
            ("it says", self.sentence),
        ]


def ask_sealed(night: Night) -> SealedAnswer:
    """Look at the sealed split; the look is counted before anything is predicted.

    Raises DataError if there is no sealed split, or if the workspace holds another root than the live release's.
    """
    with alone(night, "a look at the sealed split"):
        workspace = night.workspace
        entry = read_record(workspace.splits).splits.get(SPLIT)
        if entry is None:
            raise DataError("there is no sealed split; give it images in params.yaml: data.splits.sealed")
        live, _ = require_live(night.storage)
        manifest = verified(night.storage, live.version, live.manifest_sha256)
        if root_digest(workspace) != manifest.root:
            raise DataError(
                f"the workspace holds another root than release {live.version}; `errata correct` fetches it"
            )
        model = read_model(night.storage, manifest)
        digests = [pixel_digest(image) for image in load_split(workspace.splits, SPLIT).images]
        look = night.looks.count(entry.sha256, digests, sha256(model))
        vouch_for_looks(night.storage, night.looks)
        root, release = OnnxClassifier(workspace.root / "root.onnx"), OnnxClassifier(model)
        gate, sealed = (_paired(night, name, root, release) for name in ("gate", SPLIT))
        params = workspace.params.gate
        return SealedAnswer(
            live.version,
            look,
            share_spent(look, params),
            gate,
            sealed,
            worse_by_chance(sealed.negative_flips, sealed.n, gate.negative_flips, gate.n),
            worse_by_chance(_wrong(sealed), sealed.n, _wrong(gate), gate.n),
            1 - confidence_at(look, params),
        )


def worse_by_chance(sealed: int, n_sealed: int, gate: int, n_gate: int) -> float:
    """The chance that of two samples of the same rate the sealed one has at least so many more."""
    table = np.array([[sealed, n_sealed - sealed], [gate, n_gate - gate]])
    return float(fisher_exact(table, alternative="greater").pvalue)


def _paired(night: Night, name: str, root: OnnxClassifier, release: OnnxClassifier) -> PairedOutcomes:
    split = load_split(night.workspace.splits, name)
    before, after = (predicted_classes(each.predict(split.images).logits) for each in (root, release))
    return compare_predictions(before, after, split.labels)


def _wrong(paired: PairedOutcomes) -> int:
    return paired.negative_flips + paired.both_wrong
