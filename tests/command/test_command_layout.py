"""`run` on folders that can be read in two ways: the question, the answers, and what --dry-run says it understood."""

from __future__ import annotations

import json
from pathlib import Path

from integrations.sources.digits import digits
from tests.command.forked_command import forked_command

DRY = ("--dry-run", "--weights", "bundled")


def vehicles(root: Path) -> Path:
    """Digits 0 and 1 in train/ and val/, beside a folder of pictures that could be a class."""
    rows = {label: list(digits([label])) for label in ("0", "1")}
    places = [*((f"train/{label}", label, 12) for label in rows), *((f"val/{label}", label, 4) for label in rows)]
    for place, label, count in [*places, ("boat", "0", 3)]:
        (root / place).mkdir(parents=True)
        for number, image in enumerate(rows[label][:count]):
            assert isinstance(image.image, bytes)
            (root / place / f"{number}.png").write_bytes(image.image)
    return root


def test_an_ambiguous_folder_is_asked_about_and_a_dry_run_says_what_it_understood(tmp_path: Path) -> None:
    vehicles(tmp_path / "pictures")
    asked = forked_command("run", "pictures", *DRY, cwd=tmp_path)
    assert asked.returncode == 2
    (line,) = [line for line in asked.stderr.splitlines() if line.startswith("error: ")]
    assert "--layout splits" in line
    assert "--layout folders" in line
    (tmp_path / "audit.toml").write_text('layout = "splits"\n')
    answered = forked_command("run", "pictures", *DRY, "--config", "audit.toml", "--json", cwd=tmp_path)
    plan = json.loads(answered.stdout)
    assert plan["classes"] == {"0": 16, "1": 16}
    assert plan["layout"] == (
        "2 class folders inside the split folders train (train: 24 pictures), val (validation: 8 pictures)"
    )
    assert plan["left_out"] == ["3 left out: in folder 'boat', which is beside the splits"]
    shown = forked_command("run", "pictures", *DRY, "--layout", "folders", cwd=tmp_path)
    assert shown.returncode == 0
    assert "boat (3), train (24), val (8)" in " ".join(shown.stdout.split())
    wrong = forked_command("run", "pictures", *DRY, "--layout", "flat", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "layout is 'flat'; it takes folders or splits" in wrong.stderr
