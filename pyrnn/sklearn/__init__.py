"""Estimators for scikit-learn: recurrent networks in pipelines, grid searches and cross-validation.

`SequenceClassifier`, `SequenceRegressor` and `SequenceForecaster` train through `pyrnn.fit`. They need
scikit-learn 1.6 or later (the extra ``sklearn``) and are imported by their name: ``import pyrnn.sklearn``.
"""

try:
    import sklearn.utils.validation as _validation

    _validation.validate_data  # noqa: B018  # the first of what 1.6 has and 1.5 has not
except (ModuleNotFoundError, AttributeError) as error:
    raise ImportError(
        f'pyrnn.sklearn needs scikit-learn 1.6 or later: pip install "pyrnn[sklearn]" ({error})'
    ) from error

from ._classifier import SequenceClassifier
from ._forecaster import SequenceForecaster
from ._regressor import SequenceRegressor

__all__ = ["SequenceClassifier", "SequenceForecaster", "SequenceRegressor"]

for _estimator in (SequenceClassifier, SequenceForecaster, SequenceRegressor):
    _estimator.__module__ = __name__  # where users, pickle and the documentation find them
