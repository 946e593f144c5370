"""Every public name of the installed ``multiprocessing`` is here, and takes what it takes there."""

import importlib
import inspect
import multiprocessing
from typing import Any

import pytest

import allcores
from allcores.context import get_all_contexts, get_context

# Modules of the standard's that its documentation names, and those whose classes programs subclass or look at.
MODULES = (
    *("connection", "context", "dummy", "dummy.connection", "managers", "pool", "process", "queues", "reduction"),
    *("shared_memory", "sharedctypes", "synchronize", "util"),
)
# What the documentation names beyond `__all__`, or examples import.
DOCUMENTED = {
    "connection": ("Connection", "answer_challenge", "deliver_challenge"),
    "context": ("BaseContext", "DefaultContext", "ForkContext", "ForkServerContext", "Process", "SpawnContext"),
    "managers": (
        "AcquirerProxy",
        "AutoProxy",
        "DictProxy",
        "ListProxy",
        "MakeProxyType",
        "Namespace",
        "NamespaceProxy",
    ),
    "pool": ("ApplyResult", "AsyncResult", "MapResult", "MaybeEncodingError", "ThreadPool"),
    "process": ("AuthenticationString",),
    "queues": ("Empty", "Full"),
    "synchronize": ("Barrier",),
}

# What only the library itself makes.
NOT_CALLED = ("ApplyResult", "AsyncResult", "Connection", "DefaultContext", "MapResult")
# How a pool of the standard's makes its workers; and what a process has that is no process yet.
NOT_WANTED = {"Pool": {"Process"}, "ThreadPool": {"Process"}, "BaseProcess": {"authkey", "ident"}}


def names_of(module: str) -> set[str]:
    standard = importlib.import_module(f"multiprocessing.{module}")
    return {*getattr(standard, "__all__", ()), *DOCUMENTED.get(module, ())}


NAMES = [(module, name) for module in MODULES for name in sorted(names_of(module))]


def parameters(what: Any) -> list[inspect.Parameter] | None:
    """What it takes; None where it does not say so, or takes nothing by itself."""
    if not callable(what) or (isinstance(what, type) and issubclass(what, BaseException)):
        return None
    try:
        return list(inspect.signature(what).parameters.values())
    except (TypeError, ValueError):  # something native
        return None


def check_takes(ours: Any, theirs: Any) -> None:
    """Whatever the standard's can be called with, ours can."""
    wanted, given = parameters(theirs), parameters(ours)
    assert callable(ours) == callable(theirs)
    if wanted is None or given is None:
        return
    named = {p.name for p in given if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    in_order = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    any_number = any(p.kind is p.VAR_POSITIONAL for p in given)
    any_name = any(p.kind is p.VAR_KEYWORD for p in given)
    for at, p in enumerate(p for p in wanted if p.kind is p.POSITIONAL_OR_KEYWORD):
        assert any_number or in_order[at : at + 1] == [p.name], p.name
    for p in wanted:
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            assert any_name or p.name in named, p.name
    required = {p.name for p in given if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    assert required <= {p.name for p in wanted if p.default is p.empty}


@pytest.mark.parametrize("name", sorted(multiprocessing.__all__))
def test_the_package_has_it(name: str) -> None:
    ours = getattr(allcores, name)
    assert name in allcores.__all__
    check_takes(ours, getattr(multiprocessing, name))


@pytest.mark.parametrize("name", sorted(multiprocessing.__all__))
@pytest.mark.parametrize("context", [name for name in get_all_contexts() if name not in ("dask", "ray")])
def test_every_context_has_it(context: str, name: str) -> None:
    check_takes(getattr(get_context(context), name), getattr(multiprocessing, name))


@pytest.mark.parametrize("module", MODULES)
def test_the_module_is_here(module: str) -> None:
    ours = importlib.import_module(f"allcores.{module}")
    assert getattr(allcores, module.partition(".")[0])
    assert set(getattr(importlib.import_module(f"multiprocessing.{module}"), "__all__", ())) <= set(ours.__all__)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_the_module_has_it(module: str, name: str) -> None:
    ours = getattr(importlib.import_module(f"allcores.{module}"), name)
    if name not in NOT_CALLED:
        check_takes(ours, getattr(importlib.import_module(f"multiprocessing.{module}"), name))


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_classes_have_the_methods(module: str, name: str) -> None:
    ours = getattr(importlib.import_module(f"allcores.{module}"), name)
    theirs = getattr(importlib.import_module(f"multiprocessing.{module}"), name)
    if isinstance(theirs, type) and ours is not theirs:
        missing = {each for each in dir(theirs) if not each.startswith("_") and not hasattr(ours, each)}
        assert missing - NOT_WANTED.get(name, set()) == set()


def test_what_is_not_there_is_not_there() -> None:
    import allcores.connection
    import allcores.pool

    for module in (allcores.connection, allcores.pool):
        with pytest.raises(AttributeError, match="nothing_of_this_name"):
            module.nothing_of_this_name  # noqa: B018
        assert not hasattr(module, "__wrapped__")


def test_pool_is_the_class_of_every_pool() -> None:
    from allcores import pool

    for context in map(get_context, ("serial", "thread", "process")):
        with context.Pool(1) as made:
            assert isinstance(made, pool.Pool)
        with pool.Pool(1, context=context) as made:
            assert made.apply(abs, (-1,)) == 1


def test_a_subclass_of_pool() -> None:
    """The recipe for pools in daemonic workers, which the web is full of."""
    from allcores import pool

    class Context(type(get_context("thread"))):  # type: ignore[misc] # made at run time
        pass

    class Nested(pool.Pool):  # type: ignore[misc] # found at run time
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, context=Context(), **kwargs)

    with Nested(2) as made:
        assert made.map(abs, [-1, 2]) == [1, 2]
