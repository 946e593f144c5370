"""One suite, every context: `mp` is the context under test, `place` says what it can do.

A test that needs more than the common vocabulary says so: `@pytest.mark.needs("kills")`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from allcores.context import get_context

from . import clusters
from .kit import CLUSTERS, FOR_CLUSTERS, FOR_FORK, FORK, PATIENCE, PLACES, Context, Handle, Place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        places = (*PLACES, FORK) if metafunc.module.__name__.rpartition(".")[2] in FOR_FORK else PLACES
        quick = metafunc.module.__name__.rpartition(".")[2] in FOR_CLUSTERS
        params: list[Any] = list(places)
        params += [pytest.param(each, marks=() if quick else pytest.mark.slow) for each in CLUSTERS]
        fitting = [each for each in params if getattr(each, "values", [each])[0].fits(metafunc.definition)]
        metafunc.parametrize("place", fitting, ids=[getattr(each, "values", [each])[0].name for each in fitting])


@pytest.fixture
def before_all(place: Place) -> None:
    """What stays for all tests, and is there before the first looks what is there: the place's cluster."""
    if place.cluster:
        clusters.prepare(place.name)


@pytest.fixture
def mp(place: Place) -> Context:
    return get_context(place.name)


@pytest.fixture
def start(mp: Context, place: Place) -> Iterator[Callable[..., Handle]]:
    """Starts a Process on a function and its arguments; a test that fails leaves none of them running."""
    started: list[Handle] = []

    def start_process(target: Callable[..., object], *args: object, **kwargs: object) -> Handle:
        process = mp.Process(target=target, args=args, kwargs=kwargs)
        process.start()
        started.append(process)
        return process

    yield start_process
    for process in started:
        if place.kills and process.is_alive():
            process.kill()
        process.join(PATIENCE)
    started.clear()  # pytest keeps the fixture's value longer than the test that looks for open descriptors
