"""A full disk is said in one line, and leaves no result that looks whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import audit
from audit.config import AuditConfig
from audit.errors import InputError, WriteError
from audit.images.embedding import embed
from integrations.sources.digits import digits


def arrays() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    return generator.normal(size=(300, 8)) + 3 * np.eye(3, 8)[labels], labels


def test_a_full_disk_is_said_in_one_line_and_leaves_no_result_that_looks_whole(full_disk: Path) -> None:
    notes: list[str] = []
    config = AuditConfig(cache_dir=str(full_disk / "cache"))
    result = audit.audit_embeddings(*arrays(), config=config, progress=lambda step: notes.append(step.note))
    assert ["cannot be saved in" in note for note in notes if note] == [True]
    with pytest.raises(WriteError, match=r"the result cannot be written into .*; make room") as error:
        result.save(full_disk / "result")
    assert "\n" not in str(error.value)
    assert not (full_disk / "result" / "summary.json").exists()
    assert not list((full_disk / "result").glob("*.tmp")) + list((full_disk / "result").glob(".*.tmp"))
    with pytest.raises(InputError, match="holds no complete audit result"):
        audit.AuditResult.load(full_disk / "result")


def test_embeddings_that_find_no_room_say_where_to_make_some(full_disk: Path) -> None:
    from audit.images.load_backbone import load_backbone

    images = list(digits(["3"]))[:40]
    samples = audit.Samples([str(n) for n in range(40)], [i.image for i in images], ["3"] * 40)  # type: ignore[misc]
    with pytest.raises(InputError, match=r"embedding cache .* cannot be written .*; give another \(--cache-dir\)"):
        embed(samples, load_backbone(weights="bundled", device="cpu"), 16, full_disk / "cache")
