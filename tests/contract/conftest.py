"""One suite, every context: `mp` is the context under test, `place` says what it can do.

A test that needs more than the common vocabulary says so: `@pytest.mark.needs("kills")`.
"""

from collections.abc import Callable, Iterator

import pytest

from allcores.context import get_context

from .kit import FOR_FORK, FORK, PATIENCE, PLACES, Context, Handle, Place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        places = (*PLACES, FORK) if metafunc.module.__name__.rpartition(".")[2] in FOR_FORK else PLACES
        fitting = [place for place in places if place.fits(metafunc.definition)]
        metafunc.parametrize("place", fitting, ids=[place.name for place in fitting])


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
