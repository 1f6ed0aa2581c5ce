"""Embeddings and labels in the forms that people have: audited with the numbers they hold, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

import audit
from audit.compute.matrix import StoredRows, to_memory
from audit.data.arrays import embedding_parts, read_arrays

Arrays = tuple[np.ndarray, np.ndarray]


class Colour(Enum):
    RED = 1
    BLUE = 2


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


def digits() -> Arrays:
    """Ninety digits 0, 1 and 2, whose pixels are multiples of 1/16; two labels are wrong."""
    data = load_digits(n_class=3)
    labels = data.target[:90].copy()
    labels[[4, 40]] = (labels[[4, 40]] + 1) % 3
    return (data.data[:90] / 16).astype(np.float32), labels


X, LABELS = digits()


@pytest.fixture(scope="module")
def plain() -> pd.DataFrame:
    return audit.audit_embeddings(X, LABELS).scores


def numbers_in(x: Any) -> np.ndarray:
    return to_memory(StoredRows(embedding_parts(x, "x"), torch.float64, torch.device("cpu"))).numpy()


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "double": lambda x: x.astype(np.float64),
    "half": lambda x: x.astype(np.float16),
    "long double": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f4"),
    "big-endian double": lambda x: x.astype(">f8"),
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "columns reversed twice": lambda x: x[:, ::-1].copy()[:, ::-1],
    "column order": np.asfortranarray,
    "every other column": lambda x: np.repeat(x, 2, 1)[:, ::2],
    "unaligned": lambda x: np.frombuffer(b" " + x.tobytes(), dtype=np.uint8)[1:].view(x.dtype).reshape(x.shape),
    "field of records": lambda x: np.rec.fromarrays([x, np.zeros(x.shape, "i1")], names="x,y")["x"],
    "objects": lambda x: x.astype(object),
    "decimals": lambda x: [[Decimal(float(value)) for value in row] for row in x],
    "lists": lambda x: x.tolist(),
    "tuples of arrays": tuple,
    "array of arrays": lambda x: pd.Series(list(x)).to_numpy(),
    "column of arrays": lambda x: pd.Series(list(x)),
    "column of lists": lambda x: pd.Series(x.tolist(), index=np.arange(len(x))[::-1]),
    "matrix": np.matrix,
    "no value masked": lambda x: np.ma.masked_array(x, mask=np.zeros(x.shape, dtype=bool)),
    "table": pd.DataFrame,
    "table of objects": lambda x: pd.DataFrame(x).astype(object),
    "table of nullable columns": lambda x: pd.DataFrame(x).astype("Float32"),
    "table of sparse columns": lambda x: pd.DataFrame(x).astype(pd.SparseDtype(np.float32, 0)),
    "table of Arrow columns": lambda x: pd.DataFrame(x).convert_dtypes(dtype_backend="pyarrow"),
    "Arrow table": lambda x: pa.table({str(place): column for place, column in enumerate(x.T)}),
    "Arrow lists": lambda x: pa.array(x.tolist()),
    "compressed rows": scipy.sparse.csr_matrix,
    "coordinates": scipy.sparse.coo_array,
    "tensor": torch.tensor,
    "bfloat16": lambda x: torch.tensor(x).bfloat16(),
    "half tensor": lambda x: torch.tensor(x).half(),
    "trained tensor": lambda x: torch.tensor(x, requires_grad=True),
    "parameter": lambda x: torch.nn.Parameter(torch.tensor(x)),
    "sparse tensor": lambda x: torch.tensor(x).to_sparse(),
    "compressed tensor": lambda x: torch.tensor(x).to_sparse_csr(),
    "imaginary part of a conjugate": lambda x: -(1j * torch.tensor(x)).conj().imag,
    "transposed tensor": lambda x: torch.tensor(x.T.copy()).T,
    "list of tensors": lambda x: list(torch.tensor(x)),
    "list of trained tensors": lambda x: list(torch.tensor(x, requires_grad=True)),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("form", FORMS)
def test_embeddings_of_any_form_hold_the_same_numbers(form: str) -> None:
    np.testing.assert_array_equal(numbers_in(FORMS[form](X)), X.astype(np.float64))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", ">i2", "u2", "i4", "u4", ">i8", "u8"])
def test_whole_numbers_are_embeddings_too(dtype: str) -> None:
    x = (16 * X).astype(np.int64).astype(dtype)
    np.testing.assert_array_equal(numbers_in(x), x.astype(np.float64))


@pytest.mark.parametrize("form", ["big-endian", "columns reversed twice", "bfloat16", "sparse tensor", "objects"])
def test_an_audit_is_the_same_whatever_the_form(form: str, plain: pd.DataFrame) -> None:
    result = audit.audit_embeddings(FORMS[form](X), LABELS)
    pd.testing.assert_frame_equal(result.scores, plain, check_exact=True)


def test_mapped_and_read_only_arrays_of_another_byte_order_are_audited(plain: pd.DataFrame, tmp_path: Path) -> None:
    np.save(tmp_path / "first.npy", X[:40].astype(">f4"))
    np.save(tmp_path / "second.npy", X[40:].astype(np.float64))
    result = audit.audit_embeddings([tmp_path / "first.npy", tmp_path / "second.npy"], LABELS)
    pd.testing.assert_frame_equal(result.scores, plain, check_exact=True)
    places = torch.tensor([70, 3, 40, 39])
    stored = StoredRows(
        embedding_parts([tmp_path / "first.npy", tmp_path / "second.npy"], "x"), torch.float64, places.device
    )
    np.testing.assert_array_equal(stored[places].numpy(), X[places.numpy()])
    fixed = X.copy()
    fixed.setflags(write=False)
    np.testing.assert_array_equal(numbers_in(fixed), X)


def masked() -> np.ma.MaskedArray:
    return np.ma.masked_array(X, mask=np.repeat(np.arange(90) < 45, 64).reshape(90, 64))


def with_value(value: object) -> np.ndarray:
    x = X.astype(object)
    x[7, 3] = value
    return x


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X + 1j, "x: embeddings are complex numbers; give real ones"),
        (torch.tensor(X) + 1j, "complex numbers"),
        (X.astype(str), r"x: embeddings are text; give numbers, such as x.astype\(float\)"),
        (X.astype("S"), "are text"),
        (with_value("0.5"), "row 7 holds a value of type str; give numbers"),
        (with_value(1j), "row 7 holds a value of type complex"),
        (with_value(None), "1 embedding.* NaN or infinity, the first in row 7"),
        (with_value(pd.NA), "the first in row 7"),
        (with_value([1, 2]), "row 7 holds a value of type list"),
        (masked(), "45 of 90 embeddings hold masked values; leave these rows out"),
        (X[:, 0], r"x: embeddings have shape \(90,\); give \(n, d\): x.reshape\(-1, 1\)"),
        (X.reshape(90, 8, 8), r"shape \(90, 8, 8\); give \(n, d\), such as x.reshape\(len\(x\), -1\)"),
        (np.empty((90, 0)), r"shape \(90, 0\)"),
        (3.5, r"shape \(\)"),
        ([[1.0, 2.0]] * 89 + [[1.0]], "row 89 has shape"),
        (pd.Series([*X[:-1], X[0, :3]]), "row 89 has shape"),
        ((row for row in X), "x: embeddings are of type generator"),
        (dict(enumerate(X)), "are of type dict"),
        (None, "an audit without embeddings needs predictions"),
        (torch.utils.data.DataLoader([1]), "x: .*give"),
        (torch.empty(90, 4, device="meta"), "this tensor cannot be read"),
        (pd.DataFrame(X).assign(name=["a"] * 90), "x: column 'name'"),
        (pd.DataFrame(X).assign(day=pd.Timestamp("2020-01-01")), "column 'day' is of type datetime64"),
        (pd.DataFrame(X).assign(kind=pd.Categorical(["a"] * 90)), "column 'kind' is of type category"),
        (np.zeros((90, 2), dtype="M8[s]"), "of type datetime64"),
        (np.zeros((90, 2), dtype=[("a", "f4")]), "of type"),
        (scipy.sparse.csr_matrix((90, 10**12)), "sparse embeddings of shape .* reduce the features first"),
        (np.where(np.arange(90)[:, None] == 17, np.float32(1e30), X), "1,000,000 times as large as usual.* row 17"),
        (np.full_like(X, np.inf), "90 embedding.* NaN or infinity, the first in row 0"),
    ],
)
def test_what_are_no_embeddings_is_refused_in_one_line(x: Any, message: str) -> None:
    with pytest.raises(audit.InputError, match=message) as error:
        audit.audit_embeddings(x, LABELS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((label for label in LABELS), r"^labels are of type generator; give list\(labels\)"),
        (dict(enumerate(LABELS)), "^labels are of type dict"),
        (set(LABELS.tolist()), "^labels are of type set"),
        ("0" * 90, "^labels are of type str"),
        (None, "^labels are of type NoneType"),
        (7, "^labels are of type int"),
        (np.eye(3)[LABELS], r"shape \(90, 3\); give one class per sample \(n,\), such as numpy.argmax\(labels, 1\)"),
        (np.eye(3)[LABELS].tolist(), "a label is of type list.*argmax"),
        (torch.eye(3)[torch.tensor(LABELS)], "argmax"),
        (pd.get_dummies(LABELS), "argmax"),
        (LABELS[:, None], r"shape \(90, 1\).*labels.ravel\(\)"),
        ([1, "1", *LABELS[2:].tolist()], r"labels are numbers \(1\) and text \('1'\) at once"),
        ([True, 2, *LABELS[2:].tolist()], "numbers .* and true or false .* at once"),
        ([b"\xff", *LABELS.astype(str)[1:]], "not UTF-8"),
        ([Colour.RED, Colour.BLUE] * 45, r"of type Colour; give its name \(label.name\)"),
        ([Size.SMALL, Size.LARGE] * 45, "of type Size"),
        (LABELS.astype(object) + 2**64, "not whole ones of 64 bits"),
        (LABELS + 1j, "of type complex"),
        (LABELS.astype("M8[D]"), "of type datetime64"),
        ([None, {}, *LABELS[2:].tolist()], "a label is of type dict"),
        (LABELS[:80], r"embeddings have shape \(90, 64\), labels \(80,\)"),
    ],
)
def test_what_are_no_labels_is_refused_in_one_line(labels: Any, message: str) -> None:
    with pytest.raises(audit.InputError, match=message) as error:
        audit.audit_embeddings(X, labels)
    assert "\n" not in str(error.value)


def test_labels_go_with_embeddings_by_position_and_another_order_of_one_index_is_refused() -> None:
    order = np.random.default_rng(0).permutation(90)
    shuffled = pd.Series(LABELS, index=order)
    assert read_arrays(X, shuffled, "x").labels.tolist() == LABELS.tolist()
    table = pd.DataFrame(X, index=order)
    assert read_arrays(table, shuffled, "x").labels.tolist() == LABELS.tolist()
    with pytest.raises(audit.InputError, match=r"in another order; give labels.loc\[x.index\]"):
        read_arrays(pd.DataFrame(X), shuffled, "x")


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((X[:1], LABELS[:1]), "validation holds 1 labelled sample"),
        ((X[:0], LABELS[:0]), "validation holds 0 labelled sample"),
        ((X[:3], [0, None, None]), "validation holds 1 labelled sample"),
        ((X[:9], LABELS[:9].astype(str)), "the labels of validation are text, those of x numbers"),
        ((X[:9], LABELS[:9] > 0), "the labels of validation are true or false, those of x numbers"),
        ((X[:9], [7] * 9), "validation has class 7, and x has no sample of it"),
        ((X[:9], [7, 8] + [9] * 2 + [10] * 5), "validation has class 10"),
        ((X[:9, :5], LABELS[:9]), "x has 64 features, validation 5"),
        ((X[:9], LABELS[:8]), "validation: embeddings have shape"),
        ((X[:9], (label for label in LABELS[:9])), "validation: labels are of type generator"),
        (X[:2], "validation is of type ndarray; give a pair"),
        ((X[:9], LABELS[:9], None), "give a pair"),
        ({"x": X, "y": LABELS}, "validation is of type dict"),
    ],
)
def test_validation_that_cannot_be_used_is_refused_in_one_line(validation: Any, message: str) -> None:
    with pytest.raises(audit.InputError, match=message) as error:
        audit.audit_embeddings(X, LABELS, validation=validation)
    assert "\n" not in str(error.value)


def test_validation_may_be_of_another_precision() -> None:
    expected = audit.audit_embeddings(X[:60], LABELS[:60], validation=(X[60:], LABELS[60:]))
    found = audit.audit_embeddings(X[:60].astype(np.float16), LABELS[:60].astype(float), (list(X[60:]), LABELS[60:]))
    pd.testing.assert_frame_equal(found.scores, expected.scores, check_exact=True)


@pytest.mark.parametrize("exponent", [100, -100, 900, -900])
def test_embeddings_of_any_scale_give_the_same_audit(exponent: int, plain: pd.DataFrame) -> None:
    x = np.ldexp(X.astype(np.float64), exponent)
    result = audit.audit_embeddings(x, LABELS)
    numbers = plain.select_dtypes("number").columns
    np.testing.assert_allclose(result.scores[numbers], plain[numbers], atol=1e-6)
    assert (result.scores["flag"] == plain["flag"]).all()
    mean = result.heads["given"]["mean"]
    np.testing.assert_allclose(mean, x[result.scores["split"] == "train"].mean(0), rtol=1e-9)


@pytest.mark.parametrize("scale", [np.float32(1e30), np.float32(1e-30)])
def test_large_and_small_numbers_of_single_precision_do_not_overflow(scale: np.float32, plain: pd.DataFrame) -> None:
    result = audit.audit_embeddings(X * scale, LABELS)
    assert (result.scores["flag"] == plain["flag"]).all()
    np.testing.assert_allclose(result.scores["suspicion"], plain["suspicion"], atol=1e-3)


def test_one_constant_column_of_large_numbers_hides_no_other() -> None:
    result = audit.audit_embeddings(np.c_[X, np.full(90, 1e30)], LABELS)
    assert set(result.flagged.index) == {"4", "40"}


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.integers(-9, 9)
ANYTHING = NUMBERS | st.floats() | st.booleans() | st.none() | st.text(max_size=2)
FORMED = [
    list,
    np.array,
    pd.DataFrame,
    lambda rows: np.array(rows, dtype=object),
    lambda rows: torch.tensor(rows).half(),
]


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    rows = st.integers(1, 3).map(lambda width: st.lists(values, min_size=width, max_size=width))
    return rows.flatmap(lambda row: st.lists(row, min_size=6, max_size=8))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(FORMED),
    tables(NUMBERS) | tables(ANYTHING),
    st.lists(st.sampled_from([0, 1]), min_size=8, max_size=8)
    | st.lists(st.sampled_from(["a", "b", None]), min_size=8, max_size=8)
    | st.lists(st.sampled_from([0, 1, "a", True, 2.5]), min_size=8, max_size=8),
)
def test_anything_small_is_audited_with_finite_scores_or_refused(form: Any, rows: list[Any], labels: list[Any]) -> None:
    try:
        x = form(rows)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return  # no such array can be made
    try:
        result = audit.audit_embeddings(x, labels[: len(rows)])
    except audit.InputError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert np.isfinite(result.scores.select_dtypes("number")).all(axis=None)
    assert "\n" not in refusal
