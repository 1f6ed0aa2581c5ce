"""An audit that is killed goes on where it was, and comes to the same result as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest
from safetensors import safe_open

from audit import AuditResult, InputError
from audit.summary.summary import CHANGING
from tests.forking import forked_processes
from tests.processes.audit_to_kill import IMAGES, audit_digits
from tests.waiting import wait_until

KILLS = 20


def outcome(folder: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    """All that a result folder says, but for when and how fast."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".parquet", ".csv")}
    files["heads"] = (folder / "heads.safetensors").read_bytes()
    summary = json.loads((folder / "summary.json").read_text())
    summary["config"].pop("cache_dir")
    return files, {name: value for name, value in summary.items() if name not in CHANGING}


def said(folder: Path) -> list[tuple[str, str]]:
    path = folder.with_suffix(".said")
    return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def finished_stages(cache: Path) -> set[str]:
    return {path.stem for path in (cache / "checkpoints").glob("*/*.safetensors")}


def embedded(cache: Path) -> int:
    total = 0
    for shard in (cache / "embeddings").glob("*/*.safetensors"):
        with safe_open(shard, framework="numpy") as tensors:
            total += len(tensors.get_tensor("keys"))
    return total


def test_killed_at_twenty_random_moments_it_goes_on_and_ends_alike(tmp_path: Path) -> None:
    processes, random = forked_processes(), Random(7)
    undisturbed, folder, cache = tmp_path / "undisturbed", tmp_path / "killed", tmp_path / "cache"
    first = processes.Process(target=audit_digits, args=(str(tmp_path / "other cache"), str(undisturbed)))
    first.start()
    first.join()
    assert first.exitcode == 0
    began = time.perf_counter()
    again = processes.Process(target=audit_digits, args=(str(tmp_path / "third cache"), str(tmp_path / "again")))
    again.start()
    again.join()
    seconds = time.perf_counter() - began
    wanted = outcome(undisturbed)
    assert outcome(tmp_path / "again") == wanted

    def start() -> BaseProcess:
        process = processes.Process(target=audit_digits, args=(str(cache), str(folder)))
        process.start()
        return process

    def kill(process: BaseProcess) -> None:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        # Killed while saving, the folder is known to be incomplete; before and after, it is whole.
        if not (folder / "summary.json").exists():
            with pytest.raises(InputError, match="no complete audit result"):
                AuditResult.load(folder)

    def run(timeout: float | None) -> set[str] | None:
        """The stages that a run took over from the ones killed before it; None where it had to be killed, too."""
        before, images = finished_stages(cache), embedded(cache)
        folder.with_suffix(".said").unlink(missing_ok=True)
        process = start()
        process.join(timeout)
        if process.exitcode is None:
            kill(process)
            return None
        assert process.exitcode == 0
        assert outcome(folder) == wanted
        told = {stage for stage, note in said(folder) if "was finished by an earlier run" in note}
        assert told == before
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["embedding"] == {"computed": IMAGES - images, "cached": images}
        assert not finished_stages(cache)  # over, and nothing kept of it
        shutil.rmtree(folder)
        shutil.rmtree(cache)
        return told

    kills = 0
    while kills < KILLS:
        kills += run(timeout=random.uniform(0.02, 0.9) * seconds) is None
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(cache, ignore_errors=True)
    # Which stages twenty random moments leave finished is up to the machine; these two are killed after for certain.
    for stage in ("head", "detection"):
        process = start()
        wait_until(lambda stage=stage: stage in finished_stages(cache), every=0.005)
        kill(process)
        told = run(timeout=None)
        assert told is not None
        assert stage in told
    assert AuditResult.load(undisturbed).summary.counts.samples == IMAGES
