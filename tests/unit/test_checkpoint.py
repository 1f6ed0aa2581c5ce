"""A checkpoint gives back what it was given, to the same audit only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from audit import AuditConfig, InputError, audit_embeddings
from audit.checkpoint import Checkpoint, digest_of
from audit.compute.matrix import ALIGNMENT
from audit.head.fit import Head
from audit.head.standardise import Standardiser
from audit.progress import Step


@dataclass(frozen=True)
class Outcome:
    """What a stage may come to."""

    tensor: torch.Tensor
    array: np.ndarray
    table: pd.DataFrame
    pairs: list[tuple[float, float]]
    words: dict[str, str | None]


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path: Path) -> None:
    standardiser = Standardiser(torch.arange(3.0, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    head = Head(torch.randn(2, 4, dtype=torch.float64), standardiser, 1e-3, "newton", 1e-9, [(0.1, float("inf"))])
    given = (
        head,
        Outcome(
            torch.arange(6.0).reshape(2, 3).T,
            np.arange(6, dtype=np.float32).reshape(2, 3),
            pd.DataFrame({"name": ["a\nb", "🦊"], "value": [1, 2]}),
            [(0.1, 0.2)],
            {"method": "cg", "nothing": None},
        ),
    )

    def checkpoint() -> Checkpoint:
        opened = Checkpoint(tmp_path)
        opened.begin("key", (Head, Standardiser, Outcome), lambda stage, text: notes.append((stage, text)))
        return opened

    notes: list[tuple[str, str]] = []
    outcomes = [checkpoint().once("stage", lambda: given)]
    assert notes == []
    outcomes.append(checkpoint().once("stage", lambda: pytest.fail("it is there")))
    assert notes == [("stage", "stage was finished by an earlier run that was interrupted: not done again")]
    for back_head, back in outcomes:  # alike in memory, too: products are rounded otherwise where numbers lie otherwise
        assert torch.equal(back_head.weight, head.weight)
        assert torch.equal(back_head.standardiser.mean, standardiser.mean)
        assert (back_head.l2, back_head.trainer, back_head.curve) == (1e-3, "newton", [(0.1, float("inf"))])
        assert torch.equal(back.tensor, given[1].tensor)
        for tensor in (back_head.weight, back_head.standardiser.mean, back.tensor):
            assert tensor.is_contiguous()
            assert tensor.data_ptr() % ALIGNMENT == 0
        np.testing.assert_array_equal(back.array, given[1].array)
        pd.testing.assert_frame_equal(back.table, given[1].table)
        assert (back.pairs, back.words) == (given[1].pairs, given[1].words)
    opened = checkpoint()
    opened.discard()
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_was_changed_is_refused_by_name(tmp_path: Path) -> None:
    opened = Checkpoint(tmp_path)
    opened.begin("key", (), lambda stage, text: None)
    opened.once("stage", lambda: torch.zeros(4))
    path = tmp_path / "key" / "stage.safetensors"
    whole = path.read_bytes()
    for content in (whole[:-1] + b"\x01", whole[:20], b"", whole.replace(b"tensor", b"tensox")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"stage.safetensors' is damaged or was changed; delete it"):
            opened.once("stage", lambda: torch.zeros(4))


def test_another_audit_never_gets_these_stages_and_old_ones_go(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    x = generator.normal(size=(60, 4)) + labels[:, None] * 2.0
    keys = set()
    for number, (values, config) in enumerate(
        [(x, {}), (x, {"seed": 1}), (x + 1e-9, {}), (x, {"inject": 0.1}), (x, {}), (x, {"batch_size": 7})]
    ):
        kept = Checkpoint(tmp_path)
        notes: list[Step] = []
        audit_embeddings(values, labels, config=AuditConfig(**config), progress=notes.append, checkpoint=kept)  # type: ignore[arg-type]
        keys = {path.name for path in tmp_path.iterdir()}
        assert any("not done again" in step.note for step in notes) == (number >= 4)
    assert len(keys) == 4
    for number in range(8 + 5):
        (tmp_path / f"old-{number}").mkdir()
    kept = Checkpoint(tmp_path, most_others=8)
    kept.begin("new", (), lambda stage, text: None)
    assert len(list(tmp_path.iterdir())) == 8


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
@pytest.mark.parametrize("shape", [(3, 5), (0, 4), (), (2, 1, 3)])
def test_arrays_of_every_kind_and_shape_are_kept(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    given = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    for _ in range(2):
        opened = Checkpoint(tmp_path)
        opened.begin("key", (), lambda stage, text: None)
        back = opened.once("stage", lambda: {"array": given, "turned": np.asfortranarray(given).T})
        np.testing.assert_array_equal(back["array"], given)
        np.testing.assert_array_equal(back["turned"], given.T)
        assert (back["array"].dtype, back["array"].shape) == (given.dtype, given.shape)


def test_what_cannot_be_kept_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    opened = Checkpoint(tmp_path / "file")
    notes: list[str] = []
    opened.begin("key", (), lambda stage, text: notes.append(text))
    assert opened.once("one", lambda: 1) == 1
    assert opened.once("two", lambda: 2) == 2
    assert len(notes) == 1
    assert "one cannot be saved in" in notes[0]


def test_an_array_is_told_from_another_of_the_same_bytes() -> None:
    zeros = np.zeros((2, 2))
    assert digest_of(zeros) != digest_of(np.zeros(4)) != digest_of(np.zeros(4, dtype=np.int64))
    assert digest_of(["ab", "c"]) != digest_of(["a", "bc"])
    assert digest_of("a", "b") != digest_of("ab", "")
