"""What a second network (`trust.second_opinion`) brings to doubt, and how good it must be.

    python -m benchmarks.doubt.with_second --cifar ROOT --human CIFAR-10_human.pt [--network FOLDER] [--second FOLDER]

Images and people are those of `benchmarks.doubt`, the second network is that of `python -m benchmarks.doubt.second`,
before and after it learned CIFAR-10. Its features, or its logits, are held against 4,000 control images, as a night
does it. A better network is imitated: a share of this one's errors, on control and reported images alike, is mended by
what it says of another image of the true class. Limits of doubt are chosen on the first 5,000 of the last 10,000
training images of CIFAR-10, and reported on the last 5,000. Prints the tables of docs/results/doubt-ways.md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.cifar10.data import Cifar10, load_cifar10
from benchmarks.cifar10.models import plain_model
from benchmarks.doubt.crowds import learned_from_claims
from benchmarks.doubt.measures import Claims, at_three_per_cent, interval
from benchmarks.doubt.people import Classes, Floats, People, apart, estimated, human_labels
from benchmarks.doubt.second import KEPT, Second, features_by, head_of, taught
from benchmarks.report import environment, markdown
from errata.data.belief.image_evidence import ImageEvidence
from errata.data.belief.second_opinion import SecondOpinion
from errata.data.belief.trust import TrustSettings
from errata.editing.model import EditableModel, batched_features

HALF = 5000
CONTROL = 4000
MOST_WRONG = 0.03
MENDED = (0.25, 0.5, 0.75)
LIMITS = (0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclass(frozen=True)
class Night:
    """The claims of one half: their doubt and whether they are wrong `[claims]`, and how many say each."""

    doubts: Floats
    wrong: NDArray[np.bool_]
    votes: Classes

    @classmethod
    def of(cls, people: People, posterior: Floats) -> Night:
        return cls(estimated(people, posterior), people.wrong(), people.votes()[0])

    def released(self, settings: TrustSettings) -> NDArray[np.bool_]:
        """Which claims these limits release."""
        needed = [settings.people_needed(doubt) for doubt in self.doubts]
        return np.array([need is not None and votes >= need for need, votes in zip(needed, self.votes, strict=True)])

    def cells(self, settings: TrustSettings) -> list[str]:
        """Right claims released, and wrong among what is released."""
        out = self.released(settings)
        right = ~self.wrong
        return [
            interval(int((right & out).sum()), int(right.sum())),
            interval(int((self.wrong & out).sum()), int(out.sum())),
        ]

    def at_most(self) -> str:
        """The right claims that the best limit could release."""
        none = np.zeros(len(self.wrong), bool)
        return at_three_per_cent(Claims(self.doubts, self.wrong, none, none))


def chosen_limits(night: Night) -> TrustSettings:
    """The limits that release most right claims with at most 3% wrong among what is released."""
    best, found = -1, TrustSettings()
    for one, two, three in combinations_with_replacement(LIMITS, 3):
        settings = TrustSettings(doubt_one=one, doubt_two=two, doubt_three=three)
        out = night.released(settings)
        right = int((out & ~night.wrong).sum())
        if right > best and (out & night.wrong).sum() <= MOST_WRONG * out.sum():
            best, found = right, settings
    return found


@dataclass(frozen=True)
class Asked:
    """Control images, first, and images of which somebody says another class than the root: the root's chances and
    features `[n, d]`, labels of the former, what people say of the latter, and which of these are in each half."""

    chances: Floats
    features: Floats
    labels: Classes
    people: People
    halves: tuple[Classes, Classes]

    def posterior(self, second: NDArray[np.float32] | None) -> Floats:
        """What the latter show, with a second network's features of all images."""
        n = len(self.labels)
        known, seen = (None, None) if second is None else (second[:n], second[n:])
        evidence = ImageEvidence(self.chances[:n], self.features[:n], self.labels, known)
        return evidence.posterior(self.chances[n:], self.features[n:], seen)

    def nights(self, posterior: Floats) -> tuple[Night, Night]:
        """The claims of both halves."""
        first, last = (Night.of(self.people.part(half), posterior[half]) for half in self.halves)
        return first, last

    def from_claims(self, posterior: Floats, second: NDArray[np.float32]) -> Floats:
        """What the images show where each half's claims teach a head on the features of both networks."""
        both, n, told = np.hstack([second, self.features]).astype(np.float64), len(self.labels), posterior.copy()
        for half in self.halves:
            control = (both[:n], self.labels)
            told[half] = learned_from_claims(self.people.part(half), posterior[half], control, both[n:][half])
        return told


def asked(model: EditableModel, data: Cifar10, human: Path) -> tuple[Asked, Tensor]:
    """Those images, and what is known of them."""
    images = torch.cat([data.test.images[:CONTROL], data.validation.images])
    with torch.no_grad():
        features = batched_features(model, images)
        chances = torch.softmax(model.classify(features), 1).double().numpy()
    truth, said = human_labels(human, 2 * HALF)
    labels, predicted = data.test.labels[:CONTROL].numpy(), chances.argmax(1)
    accuracy = float((predicted[:CONTROL] == labels).mean())
    heard = np.flatnonzero((said != predicted[CONTROL:, None]).any(axis=1))
    rows = np.concatenate([np.arange(CONTROL), CONTROL + heard])
    people = People(said, apart(said), truth, predicted[CONTROL:], accuracy).part(heard)
    halves = np.flatnonzero(heard < HALF), np.flatnonzero(heard >= HALF)
    return Asked(chances[rows], features.numpy()[rows], labels, people, halves), images[torch.from_numpy(rows)]


def kept_features(kept: Path, name: str, images: Tensor) -> NDArray[np.float32]:
    """Features of the images before (`imagenet`) or after the network learned CIFAR-10, computed once."""
    path = kept / f"features-{name}.npy"
    if not path.exists():
        second = taught(kept) if name == "learned" else Second().learned_imagenet().eval()
        np.save(path, features_by(second, images).astype(np.float16))
    return np.asarray(np.load(path), np.float32)


def mended(logits: NDArray[np.float32], truth: Classes, share: float) -> NDArray[np.float32]:
    """Logits in which a share of the errors is replaced by what the network says of an image of the true class that it
    gets right."""
    rng, found = np.random.default_rng(1), logits.copy()
    right = logits.argmax(1) == truth
    wrong = np.flatnonzero(~right)
    for row in wrong[rng.random(len(wrong)) < share]:
        found[row] = logits[rng.choice(np.flatnonzero(right & (truth == truth[row])))]
    return found


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10, as torchvision keeps it")
    parser.add_argument("--human", type=Path, required=True, help="CIFAR-10_human.pt of CIFAR-10N")
    parser.add_argument("--network", type=Path, default=Path("artifacts/benchmarks/plain-16"), help="kept here")
    parser.add_argument("--second", type=Path, default=KEPT, help="the second network, kept here")
    arguments = parser.parse_args()
    data = load_cifar10(arguments.cifar)
    found, images = asked(plain_model(arguments.network, 16, data), data, arguments.human)
    imagenet, features = (kept_features(arguments.second, name, images) for name in ("imagenet", "learned"))
    logits = head_of(taught(arguments.second), features)
    truth = np.concatenate([found.labels, found.people.truth])
    seconds = {
        "ImageNet's features": imagenet,
        "features": features,
        "logits": logits,
        **{f"logits, {share:.0%} of errors mended": mended(logits, truth, share) for share in MENDED},
    }
    ways = {"none": ("", found.posterior(None))}
    for name, second in seconds.items():
        opinion = SecondOpinion(second[:CONTROL], found.labels, logits.shape[1]).on_control
        right = interval(int((opinion.argmax(1) == found.labels).sum()), CONTROL)
        ways[name] = right, found.posterior(second)
    ways["features, and a head that learns from the claims"] = "", found.from_claims(ways["features"][1], features)
    rows, limits = [], []
    for name, (accuracy, posterior) in ways.items():
        nights = found.nights(posterior)
        shown = f"{(posterior.argmax(1) == found.people.truth).mean():.1%}"
        rows.append([name, accuracy, shown, *(cell for night in nights for cell in night.cells(TrustSettings()))])
        best = chosen_limits(nights[0])
        told = ", ".join(f"{limit:g}" for limit in (best.doubt_one, best.doubt_two, best.doubt_three))
        aucs = [f"{roc_auc_score(night.wrong, night.doubts):.3f}" for night in nights]
        limits.append([name, *aucs, *(night.at_most() for night in nights), told])
        limits[-1] += [cell for night in nights for cell in night.cells(best)]
    print(markdown(("second network", "right on control images", "shown right", *4 * [""]), rows))
    print(markdown(("second network", "AUC", "AUC", "at most", "at most", "limits", *4 * [""]), limits))
    print(environment("cpu"))


if __name__ == "__main__":
    main()
