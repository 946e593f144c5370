"""Something to be done when a module has been imported, whoever does that, and whenever."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("WhenImported",)


class WhenImported:
    """A finder that finds nothing itself: it has ``action(name)`` called when a module has been imported.

    It may stand beside others: each asks those that come after it.

    Args:
        wanted: whether it is one of those modules, by its name.
        action: called in the thread that imports, before anybody has the module.
    """

    def __init__(self, wanted: Callable[[str], bool], action: Callable[[str], object]) -> None:
        self._wanted, self._action = wanted, action

    def watch(self) -> None:
        """From now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """No more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def is_watching(self) -> bool:
        """Whether it does."""
        return self in sys.meta_path

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not self._wanted(name):
            return None
        finders: list[Any] = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self._action)
                return spec
        return None


class _Loader:
    """The loader of a module, and after it the action."""

    def __init__(self, loader: Any, action: Callable[[str], object]) -> None:
        self._loader, self._action = loader, action

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader  # from here on it is the module's own affair
        self._loader.exec_module(module)
        self._action(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # who only asks whether the module is there may ask more
