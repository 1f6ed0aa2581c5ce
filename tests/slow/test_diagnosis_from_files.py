"""A diagnosis and an audit whose matrices are in files are those of matrices in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import audit
from audit.compute.scratch import ScratchRows
from audit.noise_model.controls import spike_in
from audit.noise_model.given_predictions import GivenPredictions
from audit.noise_model.model import NoiseModel
from audit.noise_model.predictions_alone import PredictionsModel
from audit.noise_model.settings import MixtureSettings, NoiseSettings
from tests.little_memory import little_memory


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Handwritten digits, labels of which a tenth is wrong, and bool whether a label is known to be right."""
    x, numbers = load_digits(return_X_y=True)
    labels, draw = torch.from_numpy(numbers), np.random.default_rng(0)
    wrong = torch.from_numpy(draw.choice(len(x), len(x) // 10, replace=False))
    labels[wrong] = torch.from_numpy(draw.integers(0, 10, len(wrong)))
    trusted = torch.zeros(len(x), dtype=torch.bool)
    trusted[torch.from_numpy(draw.choice(len(x), 400, replace=False))] = True
    trusted[wrong] = False
    return torch.from_numpy(x), labels, trusted


@pytest.mark.parametrize("kind", ["trusted", "predictions", "predictions alone"])
def test_a_diagnosis_from_files_is_that_from_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels, trusted = pictures()
    settings = NoiseSettings(mixture=MixtureSettings(samples=1000))  # fewer than there are, as of large data
    predictions = torch.softmax(x[:, :10] / 4, 1).float()
    found = []
    for little in (False, True):
        with little_memory(monkeypatch) if little else monkeypatch.context():
            if kind == "predictions alone":
                model: NoiseModel | PredictionsModel = PredictionsModel(predictions, settings=settings)
            else:
                given = GivenPredictions(predictions, in_sample=True) if kind == "predictions" else None
                known = trusted if kind == "trusted" else None
                model = NoiseModel(x, 10, trusted=known, settings=settings, predictions=given)
            fitted = model.fit(labels)
            found.append((fitted.diagnosis, spike_in(model, fitted, labels, 0)))
    (memory, controls), (files, controls_of_files) = found
    assert isinstance(files.prior, ScratchRows)
    assert isinstance(files.posterior, ScratchRows)
    for name in ("prior", "posterior", "probabilities", "loo_probabilities"):
        difference = (getattr(files, name)[:] - getattr(memory, name)[:]).abs()
        assert float(difference.max()) < 1e-4, name
        assert float(difference.mean()) < 1e-6, name
    torch.testing.assert_close(files.transition, memory.transition, rtol=1e-4, atol=1e-6)
    assert files.look_alikes.rate == pytest.approx(memory.look_alikes.rate, abs=1e-6)
    assert len(files.rounds) == len(memory.rounds)
    changed = controls.labels != controls_of_files.labels  # where a draw falls between two classes
    assert changed.mean() < 1e-3
    assert np.abs(controls.suspicion - controls_of_files.suspicion)[~changed].mean() < 1e-5


def test_an_audit_from_files_is_that_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With copies of pictures, of which some have another label."""
    x, labels, _ = pictures()
    x, labels = x[:300], labels[:300]
    x, labels = torch.cat([x, x[:60]]), torch.cat([labels, (labels[:60] + torch.arange(60) // 50) % 10])
    config = audit.AuditConfig(cache_dir=str(tmp_path), findings="none")
    memory = audit.audit_embeddings(x.numpy(), labels.numpy(), config=config)
    with little_memory(monkeypatch):
        files = audit.audit_embeddings(x.numpy(), labels.numpy(), config=config)
    for column in ("influence", "self_influence", "loo_probability", "suspicion", "other_probability"):
        difference = (files.scores[column] - memory.scores[column]).abs()
        assert difference.max() < 1e-4 * memory.scores[column].abs().max(), column
    for column in ("flag", "suggested_label"):
        assert (files.scores[column] == memory.scores[column]).all()
    assert files.summary.failed_stages == ()
    assert files.summary.estimates.mistakes == pytest.approx(memory.summary.estimates.mistakes, rel=1e-4)
