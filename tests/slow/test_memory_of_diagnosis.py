"""How much memory the noise model takes where its matrices are large."""

from __future__ import annotations

import subprocess
import sys

from tests.peak_memory import ROOT

DIAGNOSED = """
import sys
import audit, numpy as np, torch
import audit.compute.scratch as scratch
from audit.noise_model.model import NoiseModel
from audit.noise_model.neighbour_settings import NeighbourSettings
from audit.noise_model.settings import MixtureSettings, NoiseSettings, RoundSettings
from tests.peak_memory import peak_mib
scratch.SETTINGS = scratch.ScratchSettings(memory_bytes=int(sys.argv[1]))
generator = np.random.default_rng(0)
labels = generator.integers(0, 100, 100_000)
x = 3 * generator.normal(size=(100, 8))[labels] + generator.normal(size=(100_000, 8))
settings = NoiseSettings(
    neighbours=NeighbourSettings(fewest_references=500, most_references=500),
    mixture=MixtureSettings(samples=2000),
    rounds=RoundSettings(usual=2, most=2),
)
NoiseModel(torch.from_numpy(x[:5000]), 100, settings=settings).fit(torch.from_numpy(labels[:5000]))  # imports the rest
model = NoiseModel(torch.from_numpy(x), 100, settings=settings)
before = peak_mib()
diagnosis = model.fit(torch.from_numpy(labels)).diagnosis
print(round(peak_mib() - before))
"""


def test_a_diagnosis_takes_no_more_memory_for_large_matrices() -> None:
    """A matrix of 100,000 samples and 100 classes takes 38 MiB, and the noise model has eight or more at once."""
    few, many = (
        int(subprocess.check_output([sys.executable, "-c", DIAGNOSED, str(limit)], text=True, cwd=ROOT))
        for limit in (1 << 20, 1 << 30)
    )
    assert many > 200  # MiB
    assert few < many / 2  # 64 MiB of it may be the temporaries of a block of rows
