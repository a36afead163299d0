"""An engine gives what a plain loop gives, in that order; on a real Ray cluster also when a node dies in the middle."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from errata.editing.editors.gradient import GradientEditor, GradientState
from errata.editing.engine import ENGINE, Engine, ThisProcess, chosen_engine
from errata.editing.errors import DataError, ModelError, NotInstalled
from errata.editing.features import Features, entering
from errata.editing.rules import RMSProp
from errata.editing.scopes import Scope
from errata.editing.settings import ViewSettings
from errata.editing.studies.protocol import Control, draw_demands, run_protocol
from errata.editing.views import fitting_views
from tests.editing.models import small_images, small_model

VIEWS = ViewSettings(fitting=4, unseen=3)


@pytest.fixture(params=["this process", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    if request.param == "ray":
        monkeypatch.setenv(ENGINE, request.getfixturevalue("ray_cluster").address)
    else:
        monkeypatch.delenv(ENGINE, raising=False)
    return chosen_engine()


def slow_square(number: int) -> int:
    time.sleep(0.1 if number % 3 else 0.2)
    if number < 0:
        raise DataError(f"{number} has no square here")
    return number * number


def test_results_come_in_the_order_of_the_items(engine: Engine) -> None:
    assert list(engine.map(slow_square, iter(range(12)))) == [number * number for number in range(12)]


def test_what_a_function_raises_is_raised_in_its_place(engine: Engine) -> None:
    results = engine.map(slow_square, [1, 2, -3, 4])
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(DataError, match="-3 has no square here") as raised:
        next(results)
    assert type(raised.value) is DataError


def test_items_are_taken_when_they_are_needed(engine: Engine) -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = engine.map(abs, items())
    assert next(results) == 0
    assert len(taken) <= 4  # two for each of two processors


def test_features_are_the_same_to_the_bit(engine: Engine) -> None:
    model, images = small_model(), small_images(700)
    here, there = Features(), Features(engine=engine)
    for layer in (entering(model, 2), entering(model, 3)):
        assert torch.equal(here.of(model, images, layer), there.of(model, images, layer))
    some = images[:9]
    expected = torch.stack([model.features(fitting_views(image, VIEWS, 5)) for image in some])
    assert torch.equal(there.of_views(model, some, fitting_views, VIEWS, 5), expected.detach())


def test_trials_are_the_same(engine: Engine) -> None:
    root, images = small_model(), small_images(60)
    control = Control(root, images, torch.arange(60) % 4, batch=7)
    editor, demands = GradientEditor(RMSProp(0.02), Scope("chain3")), draw_demands(5, 60, 4, seed=2)
    here, there = (
        [replace(each, seconds=0) for each in run_protocol(editor, GradientState(), control, demands, VIEWS, 2, one)]
        for one in (ThisProcess(), engine)
    )
    assert here == there and len(here) == 5


def where(number: int) -> tuple[int, str]:
    """The square, and the node that computed it."""
    import ray  # noqa: PLC0415 - an extra

    return slow_square(number), str(ray.get_runtime_context().get_node_id())


@pytest.mark.slow
def test_a_node_that_dies_costs_time_and_nothing_else(ray_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENGINE, ray_cluster.address)
    dying = ray_cluster.add_node(num_cpus=4)
    ray_cluster.wait_for_nodes()
    results, found = chosen_engine().map(where, range(3000)), [(-1, "")]
    while found[-1][1] != dying.node_id:  # it is at work now, on others as well
        found.append(next(results))
    ray_cluster.remove_node(dying, allow_graceful=False)
    found += islice(results, 40)
    assert [square for square, _ in found[1:]] == [number * number for number in range(len(found) - 1)]


def test_a_machine_that_computes_otherwise_is_refused() -> None:
    class Elsewhere:
        """Changes what it is given as another machine would: the description of who asked does not fit it."""

        def map(self, function: Any, items: Any, /) -> Iterator[Any]:
            return map(replace(function, arithmetic="code 2.0 AVX 1"), items)

    with pytest.raises(ModelError, match="computes otherwise than this one"):
        Features(engine=Elsewhere()).of(small_model(), small_images(3))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "errata.editing.ray_engine", None)
    monkeypatch.setenv(ENGINE, "ray://nowhere:10001")
    with pytest.raises(NotInstalled, match=r"errata-models\[scale\]"):
        chosen_engine()
