from __future__ import annotations

import numpy as np
import pytest

from filterdb.errors import StoreError
from filterdb.stats.basis import reference_basis
from filterdb.store.lock import ingesting
from networks import save
from populations import family


def test_a_basis_fitted_on_the_database(own_db):
    before = own_db.select().summary()
    pca = own_db.basis()
    changed = own_db.fit_basis()
    after = own_db.select().summary()
    assert after.basis_id == changed[3, 3].id == own_db.bases()[3, 3].id != before.basis_id
    np.testing.assert_allclose(changed[3, 3].components, pca.components)
    assert "of this database" in own_db.bases()[3, 3].origin
    np.testing.assert_array_equal(after.scaled.second, before.scaled.second)
    # In its own basis a population's coefficients have mean 0 and the variances of its PCA.
    reach = changed[3, 3].reach
    centres = (np.arange(560) + 0.5) / 560 * 2 * reach - reach
    means = after.counts @ centres / after.n
    variances = after.counts @ centres**2 / after.n - means**2
    np.testing.assert_allclose(means, 0, atol=0.002)
    np.testing.assert_allclose(
        variances / variances.sum(), pca.explained_variance_ratio, atol=0.002
    )
    assert own_db.bases()[5, 5].id == reference_basis((5, 5)).id  # too few filters: kept
    assert own_db.verify().findings == ()
    assert not (own_db.path / "scans").exists()


def test_there_and_back_again(own_db):
    before = own_db.select().summary()
    own_db.fit_basis()
    assert own_db.fit_basis() == {}
    own_db.adopt_basis()
    after = own_db.select().summary()
    np.testing.assert_array_equal(after.counts, before.counts)
    assert own_db.bases()[3, 3].id == reference_basis((3, 3)).id


def test_models_that_join_later_come_in_the_databases_basis(own_db, tmp_path):
    own_db.fit_basis()
    own_db.ingest(save(tmp_path / "late.safetensors", family(77, 0.2)))
    assert own_db.select(model="late.safetensors").summary().basis_id == own_db.bases()[3, 3].id
    assert own_db.verify().findings == ()


def test_no_basis_changes_while_somebody_ingests(own_db):
    before = own_db.bases()[3, 3].id
    with ingesting(own_db.path), pytest.raises(StoreError, match="Wait for"):
        own_db.fit_basis()
    assert own_db.bases()[3, 3].id == before
