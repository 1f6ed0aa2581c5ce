"""`influence-audit explain`."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import AuditConfig, AuditResult, audit_images
from audit.data.samples import Samples
from tests.command.forked_command import forked_command

COUNT = 90


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The digits 3 and 8 as files."""
    from integrations.sources.digits import digits

    folder = tmp_path_factory.mktemp("images")
    images = list(digits(["3", "8"]))[:COUNT]
    paths = [folder / f"{number}.png" for number in range(COUNT)]
    for path, image in zip(paths, images, strict=True):
        path.write_bytes(image.image)
    return Samples([f"s{number}" for number in range(COUNT)], paths, [image.label for image in images])


@pytest.fixture(scope="module")
def result(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    config = AuditConfig(
        weights="bundled",
        device="cpu",
        l2=1e-1,
        inject=0.2,
        max_review=12,
        heat_maps=3,
        validation_size=0.2,
        train_size=0.7,
        cache_dir=str(tmp_path_factory.mktemp("cache")),
    )
    return audit_images(samples, config)


def test_the_command_explains_a_sample(result: AuditResult, tmp_path: Path) -> None:
    result.save(tmp_path / "result")
    flagged = result.flagged
    sample = flagged.index[flagged["split"] == "train"][0]
    name = Path(flagged.at[sample, "filepath"]).name
    found = forked_command("explain", "result", f"/{name}", "--count", "2", "--heat-map", "heat.webp", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert f"{sample} is labelled" in found.stdout
    assert "speak against the label" in found.stdout
    assert "Validation samples that it harms" in found.stdout
    assert (tmp_path / "heat.webp").read_bytes()[8:12] == b"WEBP"
    unknown = forked_command("explain", "result", "nobody.png", cwd=tmp_path)
    assert unknown.returncode != 0
    assert len(unknown.stderr.strip().splitlines()) == 1
    assert "no id is this and no file's path ends so" in unknown.stderr
