from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from filterdb.errors import CorruptFileError
from filterdb.layer import Norm
from filterdb.readers.batch_norm import (
    Claim,
    Constant,
    Finding,
    Following,
    Role,
    Step,
    Surroundings,
    claims_of,
    fused_scale,
    settle,
)

BN = "net/bn1/FusedBatchNormV3"


def constants(**held: list[float]) -> Callable[[int], Constant | None]:
    """Values by number, ``v7=[...]``."""
    arrays = {int(name[1:]): np.float32(values) for name, values in held.items()}

    def find(value: int) -> Constant | None:
        array = arrays.get(value)
        return None if array is None else Constant(f"c{value}", array.shape, lambda: array)

    return find


def chain(*steps: tuple[Role, int, int], ends: tuple[int, ...] = (99,)) -> Surroundings:
    """Nodes by role, the constant they take and the value they take; each yields the next."""
    users: dict[int, list[Step]] = {}
    for role, value, other in steps:
        users.setdefault(value, []).append(Step(role, (value, other), value + 1))
    return Surroundings(users, ends, constants(v50=[1, 2], v51=[3, 4], v52=[5]))


def test_a_scale_and_a_shift_are_a_norm_behind_a_bias_and_a_turn() -> None:
    around = chain(("add", 0, 51), ("pass", 1, 60), ("scale", 2, 50), ("add", 3, 51))
    norm = around.norm_behind(0, 2).norm
    assert norm is not None
    assert norm.name == "c50"
    np.testing.assert_array_equal(norm.scale(), [1, 2])
    assert [constant.name for constant in around.added_to(0, 2)] == ["c51"]


@pytest.mark.parametrize(
    "steps",
    [
        [("scale", 0, 50)],  # no shift
        [("scale", 0, 50), ("scale", 1, 51), ("add", 2, 51)],
        [("other", 0, 60), ("scale", 1, 50), ("add", 2, 51)],  # an activation between
        [("scale", 0, 52), ("add", 1, 51)],  # one number for all channels
        [("scale", 0, 61), ("add", 1, 51)],  # by what is no constant
        [("pass", i, 60) for i in range(20)],
    ],
)
def test_what_is_no_norm(steps: list[tuple[Role, int, int]]) -> None:
    assert chain(*steps).norm_behind(0, 2) == Following(None)


def test_the_scaling_of_the_networks_own_output_is_no_norm() -> None:
    around = chain(("scale", 0, 50), ("add", 1, 51), ends=(2,))
    assert around.norm_behind(0, 2).norm is None


def test_a_norm_beside_another_use_is_split() -> None:
    around = chain(("scale", 0, 50), ("other", 0, 60), ("add", 1, 51))
    found = around.norm_behind(0, 2)
    assert found == Following(None, split=True)
    assert settle([Finding(found, ())])[0].state == "unknown"


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("net/relu/Relu;net/bn1/FusedBatchNormV3;net/conv/BiasAdd", "net/bn1"),
        ("StatefulPartitionedCall/net/batch_normalization_4/FusedBatchNormV3",
         "net/batch_normalization_4"),
        ("MobilenetV1/Conv2d_0/BatchNorm/FusedBatchNorm", "MobilenetV1/Conv2d_0/BatchNorm"),
        ("MobilenetV1/MobilenetV1/Conv2d_0/Conv2D_Fold_bias",
         "MobilenetV1/MobilenetV1/Conv2d_0/Conv2D_Fold_bias"),
        ("net/conv/Conv2D_bn_offset", "net/conv/Conv2D_bn_offset"),
        ("base.0.1_bn/gamma", "base.0.1_bn"),
        # Behind the addition of the layer's own bias stand constants that happen to be the same.
        ("net/head/BiasAdd;net/bn1/FusedBatchNormV3", None),
        ("net/conv/BiasAdd/ReadVariableOp;net/bn1/FusedBatchNormV3", "net/bn1"),
        ("net/abnormal/Conv2D", None),
        ("net/submarine_bnb/Conv2D", None),
        ("net/layer_normalization/add", None),
    ],
)  # fmt: skip
def test_names_that_speak_of_norms(name: str, norm: str | None) -> None:
    found = claims_of([("bias", name)])
    assert [claim.norm for claim in found] == ([] if norm is None else [norm])


def claiming(*norms: str, **more: bool) -> Finding:
    return Finding(Following(None), tuple(Claim("bias", f"{n}/x", n) for n in norms), **more)


def test_a_norm_belongs_to_one_layer() -> None:
    states = settle([claiming("a"), claiming("b"), claiming("b"), claiming()])
    assert [state.state for state in states] == ["folded", "unknown", "unknown", "no_norm"]
    assert states[0].evidence == "its bias is named 'a/x'"


def test_a_norm_in_the_graph_disputes_no_name() -> None:
    raw = Finding(Following(Norm("bn", lambda: np.ones(2))), (Claim("bias", "a/x", "a"),))
    assert [state.state for state in settle([raw, claiming("a")])] == ["raw", "folded"]


def test_silence_proves_nothing() -> None:
    states = settle([claiming(), claiming(shifted=False)])
    assert [state.state for state in states] == ["unknown", "no_norm"]
    assert settle([claiming("a"), claiming(named=False)])[1].state == "unknown"


def test_scales_of_fused_norms() -> None:
    found = fused_scale(lambda: np.float32([2, 4]), lambda: np.float32([3, 0]), 1.0)
    np.testing.assert_allclose(found, [1, 4])
    np.testing.assert_allclose(fused_scale(None, lambda: np.float32([3]), 1.0), [0.5])
    for variance in ([-2.0, 1.0], [1.0], [np.nan, 1.0]):
        with pytest.raises(CorruptFileError, match="variance"):
            fused_scale(lambda: np.float32([1, 2]), lambda v=variance: np.float32(v), 1e-3)
