"""What joblib and scikit-learn take on each backend: the same calls under ``joblib.parallel_config``.

Workers are up before the clock runs, with what they import. Results are compared with those of one process.
"""

from collections.abc import Callable
from operator import neg
from time import perf_counter
from typing import Any


def parallel_call(peer: Any, size: int) -> float:
    """``Parallel(n_jobs=2)`` with one call that does nothing: what each such statement in a program costs at least."""
    from joblib import Parallel, delayed

    with peer.parallel():
        taken = []
        for i in range(-2, size):
            start = perf_counter()
            results = Parallel(n_jobs=2)([delayed(neg)(i)])
            taken.append(perf_counter() - start)
            if results != [-i]:
                raise AssertionError(f"wrong answer: {results}")
    return sorted(taken[2:])[size // 2]


def parallel_many(peer: Any, size: int) -> float:
    """Calls that do nothing, with joblib's own choice of batches."""
    from joblib import Parallel, delayed

    with peer.parallel():
        for count in (10, size):  # the last one counts
            start = perf_counter()
            results = Parallel(n_jobs=2)(delayed(neg)(i) for i in range(count))
            taken = perf_counter() - start
            if results != [-i for i in range(count)]:
                raise AssertionError("wrong answer")
    return taken / size


def fits(make: Callable[[int], Callable[[], Any]]) -> Callable[[Any, int], float]:
    """Something that scikit-learn fits, of so many parts; once small to warm, then in full."""

    def timed(peer: Any, size: int) -> float:
        from joblib import parallel_config
        from numpy import array_equal

        job = make(size)
        with peer.parallel():
            make(2)()
            start = perf_counter()
            found = job()
            taken = perf_counter() - start
        with parallel_config(backend="sequential"):
            if not array_equal(found, job()):
                raise AssertionError("wrong answer: not what one process computes")
        return taken / size

    return timed


def grid_search(size: int) -> Callable[[], Any]:
    """Small models, so that the way there and back is felt: ``size`` values of C, five folds of 400 samples."""
    import numpy as np
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    x, y = make_classification(400, 20, random_state=0)
    grid = {"C": np.logspace(-2, 2, size)}
    return lambda: GridSearchCV(LogisticRegression(), grid, n_jobs=2).fit(x, y).cv_results_["mean_test_score"]


def forest(size: int) -> Callable[[], Any]:
    """``size`` trees, each of which gets all 20,000 x 40 numbers; their thresholds tell one tree from another."""
    import numpy as np
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    x, y = make_classification(20_000, 40, random_state=0)

    def job() -> Any:
        fitted = RandomForestClassifier(size, max_depth=6, n_jobs=2, random_state=0).fit(x, y)
        return np.concatenate([tree.tree_.threshold for tree in fitted.estimators_])

    return job


MEASURES: dict[str, Callable[[Any, int], float]] = {
    "parallel_call": parallel_call,
    "parallel_many": parallel_many,
    "grid_search": fits(grid_search),
    "forest": fits(forest),
}
