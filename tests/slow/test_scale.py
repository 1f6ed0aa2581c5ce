"""Embeddings that are not in memory: the same results, in stated memory and a time that grows as their number does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

import audit
from audit.compute.matrix import Rows, SelectedRows, StoredRows, positions, select_rows
from audit.errors import InputError
from audit.head.fit import Head, logits, probabilities, residuals, targets_of, train_head
from audit.head.hessian import HeadHessian
from audit.head.leave_one_out.choose_method import leave_one_out
from audit.head.leave_one_out.common import LeaveOneOut
from audit.head.settings import PathSettings
from audit.head.stable import StableSolver
from audit.influence.averaged import influence_on_validation

N, D, C = 700, 16, 4


@pytest.fixture(scope="module")
def material() -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, C, N)
    x = (3 * rng.normal(size=(C, D))[labels] + 2 * rng.normal(size=(N, D)) + 5).astype(np.float32)
    labels[:60] = rng.integers(0, C, 60)
    return x, torch.from_numpy(labels)


@pytest.fixture(scope="module")
def files(material: tuple[np.ndarray, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The embeddings in three files of different lengths."""
    folder = tmp_path_factory.mktemp("embeddings")
    parts = np.split(material[0], [100, 450])
    for number, part in enumerate(parts):
        np.save(folder / f"{number}.npy", part)
    return sorted(folder.glob("*.npy"))


def stored(files: list[Path]) -> StoredRows:
    return StoredRows([np.load(file, mmap_mode="r") for file in files], torch.float64, torch.device("cpu"))


@pytest.mark.parametrize(
    "rows",
    [
        slice(0, 700),
        slice(90, 460),
        slice(450, 450),
        slice(None, None, 7),
        torch.tensor([3, 99, 100, 449, 450, 699, 4]),
        torch.arange(700) % 3 == 0,
    ],
)
def test_rows_in_files_are_those_in_memory(material: Any, files: list[Path], rows: Any) -> None:
    expected = torch.from_numpy(material[0])[rows].double()
    assert torch.equal(stored(files)[rows], expected)
    assert torch.equal(stored(files).float()[rows], expected.float())
    everything = SelectedRows(stored(files), torch.arange(N))
    assert torch.equal(everything[positions(rows, N)], expected)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is mapped of files")
def test_what_was_read_of_a_file_is_no_memory_of_the_process(tmp_path: Path) -> None:
    rows, width = 16_384, 1024
    on_disk = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", "float32", (rows, width))
    on_disk[:] = np.arange(rows, dtype=np.float32)[:, None]
    del on_disk
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    process = psutil.Process()
    before = process.memory_info().shared
    once = StoredRows([np.asarray(mapped)], torch.float32, torch.device("cpu"))
    for start in range(0, rows, 1024):
        assert float(once[start : start + 1024].mean()) == start + 511.5
    assert float(once[torch.tensor([rows - 1])].mean()) == rows - 1
    assert process.memory_info().shared - before < mapped.nbytes / 4
    mapped.sum()
    assert process.memory_info().shared - before > mapped.nbytes / 2  # what it would have been


def everything_of(x: Rows, labels: torch.Tensor) -> tuple[Head, torch.Tensor, LeaveOneOut]:
    """Head, influence of all samples, and leave-one-out, the last fifth of the samples for validation."""
    train, validation = torch.arange(N)[: N * 4 // 5], torch.arange(N)[N * 4 // 5 :]
    head = train_head(select_rows(x, train), labels[train], select_rows(x, validation), labels[validation], C)
    z = head.features(x)
    p, targets = probabilities(z, head.weight), targets_of(labels, C, z)
    wrong = residuals(p, targets)
    hessian = HeadHessian(select_rows(z, train), select_rows(p, train), head.l2)
    influence, _ = influence_on_validation(StableSolver(hessian), z, wrong, validation, select_rows(wrong, validation))
    left_out = leave_one_out(
        hessian, z, logits(z, head.weight), wrong, trained_on=torch.arange(N) < len(train), method="kfac"
    )
    return head, influence, left_out


def test_out_of_core_is_what_memory_gives(material: Any, files: list[Path]) -> None:
    x, labels = torch.from_numpy(material[0]).double(), material[1]
    head, influence, left_out = everything_of(x, labels)
    head_stored, influence_stored, left_out_stored = everything_of(stored(files), labels)
    assert head_stored.l2 == head.l2
    assert float((head_stored.weight - head.weight).abs().max()) < 1e-6
    assert head_stored.curve == [pytest.approx(pair, abs=1e-6) for pair in head.curve]
    assert float((influence_stored - influence).abs().max() / influence.abs().max()) < 1e-6
    assert left_out_stored.probabilities.dtype == torch.float32
    assert float((left_out_stored.probabilities - left_out.probabilities).abs().max()) < 1e-6
    assert float((left_out_stored.self_influence - left_out.self_influence).abs().max()) < 1e-5


def test_l2_of_a_part_stands_for_all(material: Any) -> None:
    x, labels = torch.from_numpy(material[0]).double(), material[1]
    few = PathSettings(samples=140)
    head = train_head(x[:560], labels[:560], x[560:], labels[560:], C, path_settings=few)
    strongest, best = head.l2_path[0][0], min(head.l2_path, key=lambda pair: pair[1])[0]
    assert strongest == pytest.approx(140 / 560)
    assert head.l2 == best


def test_an_audit_from_files_is_the_one_from_memory(
    material: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = audit.AuditConfig(cache_dir=str(tmp_path), inject=0.05, inject_strategy="class-pair")
    labels = material[1].numpy()
    expected = audit.audit_embeddings(material[0], labels, config=settings)
    monkeypatch.setattr("audit.data.arrays.IN_MEMORY_BYTES", 0)
    found = audit.audit_embeddings(files, labels, config=settings)
    # The noise model, whose beliefs influence refers to, works in single precision on embeddings from files.
    for column in ("influence", "self_influence", "loo_probability", "suspicion"):
        scale = expected.scores[column].abs().max()
        assert (found.scores[column] - expected.scores[column]).abs().max() < 2e-3 * scale, column
    assert (found.scores["flag"] == expected.scores["flag"]).all()
    assert (found.scores["injected"] == expected.scores["injected"]).all()
    explained = [part.explanations.query("reason == 'validation'")["target"].tolist() for part in (found, expected)]
    assert explained[0] == explained[1]
    assert found.summary.heads.given.test.loss == pytest.approx(expected.summary.heads.given.test.loss, abs=1e-6)


def test_predictions_of_many_classes_are_not_in_memory_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small embeddings of many classes: 400 × 8 fit, their 400 × 100 predictions do not."""
    from audit.data import arrays as inputs

    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(400) % 100)
    x = rng.normal(size=(100, 8))[labels] + 0.2 * rng.normal(size=(400, 8))
    settings = audit.AuditConfig(train_size=0.5, validation_size=0.25, test_size=0.25)
    expected = audit.audit_embeddings(x, labels, config=settings)
    monkeypatch.setattr(inputs, "IN_MEMORY_BYTES", 8 * 400 * 50)
    assert isinstance(inputs.rows_of([x], 40, settings), torch.Tensor)
    assert isinstance(inputs.rows_of([x], 100, settings), StoredRows)
    assert isinstance(inputs.rows_of([x], 100, settings.replace(engine="pydvl-cg")), torch.Tensor)
    found = audit.audit_embeddings(x, labels, config=settings)
    scale = expected.scores["influence"].abs().max()
    assert (found.scores["influence"] - expected.scores["influence"]).abs().max() < 1e-6 * scale
    assert (found.scores["suspicion"] - expected.scores["suspicion"]).abs().max() < 1e-6


def test_files_that_hold_no_embeddings(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(InputError, match=r"text.npy' cannot be read \(not a .npy file of numbers\)"):
        audit.audit_embeddings(tmp_path / "text.npy", [0, 1])
    with pytest.raises(InputError, match=r"absent.npy' cannot be read \(no such file or directory\)"):
        audit.audit_embeddings(tmp_path / "absent.npy", [0, 1])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read"):
        audit.audit_embeddings(tmp_path / "objects.npy", [0, 1])
