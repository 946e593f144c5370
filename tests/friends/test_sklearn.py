"""scikit-learn on the joblib backend: what it computes is what it computes elsewhere."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("joblib")
pytest.importorskip("sklearn")
from joblib import parallel_config
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def grid_search() -> Any:
    x, y = make_classification(300, 10, random_state=0)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1, 10]}, n_jobs=2, cv=4).fit(x, y)
    return search.cv_results_["mean_test_score"], search.best_params_["C"], search.predict(x)


def scores() -> Any:
    x, y = make_classification(300, 10, random_state=1)
    return cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), x, y, cv=5, n_jobs=2)


def forest(kind: Any) -> Any:
    make = make_regression if kind is RandomForestRegressor else make_classification
    x, y = make(5000, 30, random_state=2)  # 1.2 MB: copied once
    fitted = kind(12, max_depth=5, n_jobs=2, random_state=0).fit(x, y)
    return [part for tree in fitted.estimators_ for part in (tree.tree_.threshold, tree.tree_.value)]


def nested() -> Any:
    x, y = make_classification(200, 10, random_state=3)
    search = GridSearchCV(RandomForestClassifier(5, n_jobs=2, random_state=0), {"max_depth": [2, 3]}, n_jobs=2, cv=2)
    return search.fit(x, y).cv_results_["mean_test_score"]


def test_results_are_those_of_one_process(kept_workers: None) -> None:
    """One test, because what takes its time is that the workers import scikit-learn."""
    jobs = (
        grid_search,
        scores,
        lambda: forest(RandomForestClassifier),
        lambda: forest(RandomForestRegressor),
        nested,
    )
    for job in jobs:
        with parallel_config(backend="allcores"):
            ours = job()
        with parallel_config(backend="sequential"):
            alone = job()
        for a, b in zip(ours, alone, strict=True):
            np.testing.assert_array_equal(a, b)
