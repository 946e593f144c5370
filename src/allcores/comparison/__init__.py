"""The comparison of contexts: which way is fastest for my function, and why.

The folder is not called ``compare``, because importing a submodule binds its name in the package: the
function ``allcores.compare`` would become a module as soon as anything imported it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allcores.comparison.facts import ContextRow, JobFacts
    from allcores.comparison.measure import compare
    from allcores.comparison.report import Comparison

__all__ = ("Comparison", "ContextRow", "JobFacts", "compare")

_HOMES = {
    "Comparison": "allcores.comparison.report",
    "ContextRow": "allcores.comparison.facts",
    "JobFacts": "allcores.comparison.facts",
    "compare": "allcores.comparison.measure",
}


# Lazy, because every worker imports this package to find the probe: what it loads delays the start-up.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
