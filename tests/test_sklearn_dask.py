"""A fitted estimator predicts in the processes of a cluster."""

import dask
import dask.array as da
import dask.bag
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster

from pyrnn.sklearn import SequenceClassifier


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("dask"))
    with (
        dask.config.set({"distributed.worker.daemon": True, "temporary-directory": folder}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as local,
        Client(local) as client,
    ):
        yield client


@pytest.fixture
def fitted(rng):
    X = rng.standard_normal((40, 6, 2)).astype(np.float32)
    model = SequenceClassifier(hidden_size=8, max_iter=3, n_jobs=1, random_state=0)
    return model.fit(X, X[:, :, 0].sum(axis=1) > 0), X


@pytest.mark.filterwarnings("default")  # of dask's own
def test_blocks_of_an_array(cluster, fitted):
    model, X = fitted
    blocks = da.from_array(X, chunks=(10, 6, 2))
    p = blocks.map_blocks(
        lambda block, model: model.predict_proba(block),
        model=model,
        chunks=(blocks.chunks[0], (2,)),
        drop_axis=2,
        dtype=np.float32,
        meta=np.empty((0, 2), np.float32),
    )
    found = p.compute()
    expected = np.concatenate([model.predict_proba(X[at : at + 10]) for at in range(0, 40, 10)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.filterwarnings("default")
def test_partitions_of_a_bag(cluster, fitted):
    model, X = fitted
    parts = [part[: 1 + i % 6] for i, part in enumerate(X)]
    bag = dask.bag.from_sequence(parts, npartitions=4)
    found = bag.map_partitions(lambda part: model.predict(list(part)).tolist()).compute()
    assert found == model.predict(parts).tolist()
