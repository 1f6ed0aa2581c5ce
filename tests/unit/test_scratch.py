"""Matrices that are too large for memory: what their file holds."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.checkpoint import Checkpoint
from audit.compute.by_blocks import map_blocks
from audit.compute.matrix import StoredRows, hold, select_rows
from audit.compute.scratch import ScratchRows, empty_rows, readable
from audit.errors import InputError
from audit.flags.detectors import of_classes
from audit.flags.threshold import suggest_labels
from audit.head.fit import logits
from tests.little_memory import little_memory

ROWS, WIDTH = 500, 7


def in_file(values: torch.Tensor) -> ScratchRows:
    rows = ScratchRows.empty(tuple(values.shape), values.dtype)
    rows[slice(0, len(values))] = values
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
@pytest.mark.parametrize("shape", [(ROWS, WIDTH), (ROWS,)])
def test_a_file_gives_the_rows_that_were_written(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = (100 * torch.rand(shape, generator=torch.Generator().manual_seed(0))).to(dtype)
    rows = in_file(values)
    some = torch.tensor([3, 499, 0, 250, 250])
    for wanted in (slice(None), slice(20, 30), slice(490, 900), slice(7, 7), slice(1, None, 3), some, some[:0]):
        assert torch.equal(rows[wanted], values[wanted])
    assert torch.equal(rows[values.view(ROWS, -1)[:, 0] > 50], values[values.view(ROWS, -1)[:, 0] > 50])
    values[some] = values[some + 0] * 0 + 5
    rows[some] = values[some]
    assert torch.equal(rows[:], values)
    assert rows.float()[:5].dtype == torch.float32
    assert np.array_equal(rows.mapped(), values.numpy())
    assert np.array_equal(np.concatenate(list(rows.in_blocks(100))), values.numpy())
    assert torch.equal(pickle.loads(pickle.dumps(rows)), values)


def test_what_is_made_of_large_matrices_is_in_files_too(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(4000, WIDTH, generator=torch.Generator().manual_seed(0))
    weight = torch.ones(3, WIDTH)
    assert isinstance(logits(values, weight), torch.Tensor)
    with little_memory(monkeypatch):
        (doubled,) = map_blocks(lambda rows: (2 * rows,), [values], numbers=2 * WIDTH)
        held = hold(logits(values, weight))
        assert isinstance(empty_rows((2, 2), values.dtype, values.device), torch.Tensor)
    assert isinstance(doubled, ScratchRows)
    assert isinstance(held, ScratchRows)
    assert torch.equal(doubled[:], 2 * values)
    torch.testing.assert_close(held[:], values @ weight.T)
    few = torch.tensor([70, 3])
    assert torch.equal(select_rows(doubled, few)[slice(None)], 2 * values[few])
    numbers = np.arange(4000) % WIDTH
    flag = numbers == 1
    assert np.array_equal(of_classes(readable(doubled), numbers), of_classes(2 * values.numpy(), numbers))
    suggested = suggest_labels(readable(doubled), numbers, flag)
    assert np.array_equal(suggested, suggest_labels(2 * values.numpy(), numbers, flag))


def test_another_process_gets_the_rows_of_a_mapped_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    rows = StoredRows([np.load(tmp_path / "x.npy", mmap_mode="r")], torch.float64, torch.device("cpu"))
    assert torch.equal(pickle.loads(pickle.dumps(rows))[3:7], torch.from_numpy(values).double()[3:7])


def test_a_full_disk_is_said_in_one_line(full_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(full_disk))
    with pytest.raises(InputError, match=r"file of 7\.5 GiB .* cannot be made \(.*\); .* set TMPDIR to") as error:
        ScratchRows.empty((20_000_000, 100), torch.float32)
    assert "\n" not in str(error.value)


def test_a_checkpoint_keeps_large_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    notes: list[str] = []
    with little_memory(monkeypatch):
        for read in (False, True):
            checkpoint = Checkpoint(tmp_path)
            checkpoint.begin("key", (), lambda stage, text: notes.append(text))
            (kept,) = checkpoint.once("stage", lambda: (in_file(values),))
            assert isinstance(kept, ScratchRows)
            assert torch.equal(kept[:], values)
            assert bool(notes) == read
    checkpoint.begin("key", (), lambda stage, text: None)
    assert torch.equal(checkpoint.once("stage", lambda: (torch.zeros(1),))[0], values)  # with memory enough
