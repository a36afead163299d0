"""Why doubt on human labels misses its aim with the root's eyes alone, and what other ways of estimating it reach.

    python -m benchmarks.doubt.ways --cifar ROOT --human CIFAR-10_human.pt --workers SIDE_INFO.csv [--network FOLDER]

Data, network and people are those of `python -m benchmarks.doubt`: three people say what each image shows, and who sees
another class than the network makes a claim. Ways are chosen on the first 5,000 of the last 10,000 training images of
CIFAR-10, and reported on the last 5,000. Prints the tables of docs/results/doubt-ways.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from benchmarks.cifar10.data import Images, load_cifar10
from benchmarks.cifar10.models import plain_model
from benchmarks.doubt.crowds import with_confusion
from benchmarks.doubt.measures import Claims, at_three_per_cent, interval
from benchmarks.doubt.people import ERROR, Classes, Floats, People, apart, estimated, human_labels
from benchmarks.doubt.sources import Opinions, head_on, network_opinions, pooled
from benchmarks.report import environment, markdown
from errata.data.belief.image_evidence import ImageEvidence
from errata.data.belief.trust import TrustSettings

HALF = 5000
CONTROL = 4000


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


Way = Callable[[slice, slice], Floats]  # the doubt of the claims on one half, which may look at those of the other


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, required=True, help="folder of CIFAR-10, as torchvision keeps it")
    parser.add_argument("--human", type=Path, required=True, help="CIFAR-10_human.pt of CIFAR-10N")
    parser.add_argument(
        "--workers", type=Path, required=True, help="side_info_cifar10N.csv of CIFAR-10N: who said what"
    )
    parser.add_argument("--network", type=Path, default=Path("artifacts/benchmarks/plain-16"), help="kept here")
    arguments = parser.parse_args()
    data = load_cifar10(arguments.cifar)
    model = plain_model(arguments.network, 16, data)
    control = Images(data.test.images[:CONTROL], data.test.labels[:CONTROL])
    labels = control.labels.numpy()
    one, other = network_opinions(model, control.images), network_opinions(model, data.validation.images)
    evidence = ImageEvidence(one[0], one[1], labels)
    near = Opinions(evidence.posterior(one[0], one[1]), evidence.posterior(other[0], other[1]))
    truth, said = human_labels(arguments.human, 2 * HALF)
    people = People(said, apart(said), truth, other[0].argmax(1), evidence.accuracy)
    sources = {
        "root": Opinions(one[0], other[0]),
        "near": near,
        "views": Opinions(one[2], other[2]),
        "head": head_on(one[1], labels, other[1]),
    }
    halves = (slice(0, HALF), slice(HALF, None))
    rows = []
    for name, way in ways(people, sources, labels, arguments.workers).items():
        row = [name]
        for mine, rest in (halves, halves[::-1]):
            row += cells(people.part(mine), way(mine, rest))
        rows.append(row)
        print(row, flush=True)
    reported = people.part(halves[1])
    told = list(profile(reported, estimated(reported, near.seen[halves[1]])))
    heard = ("say it", "agree with the network", "claims", "wrong", "of all right claims", "of these released")
    print(markdown(heard, told))
    print(markdown(("way", "chosen on: at most", "AUC", "reported: at most", "AUC"), rows))
    print(environment("cpu"))


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


def ways(people: People, sources: dict[str, Opinions], labels: Classes, workers: Path) -> dict[str, Way]:
    """Every way, by name."""
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

    return {
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


if __name__ == "__main__":
    main()
