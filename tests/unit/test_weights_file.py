"""Weights from a file of the user's: the forms that training leaves are read, anything else is refused in our words."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from audit.errors import InputError
from audit.images.weights_file import state_from_file

STATE = {"conv1.weight": torch.arange(4.0), "layer1.0.bn1.bias": torch.ones(2)}
WRAPPED = {f"model.{name}": value for name, value in STATE.items()}


class Touch:
    """Pickled code."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"lr": 0.1}},
        {"model_state_dict": {f"module.{name}": value for name, value in STATE.items()}},
        {"state_dict": WRAPPED | {"loss.weight": torch.zeros(3)}},
        {"state_dict": {f"_orig_mod.module.{name}": value for name, value in STATE.items()}},
    ],
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_checkpoints_of_all_forms_hold_the_same_state(content: Any, as_zip: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.ckpt", _use_new_zipfile_serialization=as_zip)
    found = state_from_file(tmp_path / "file.ckpt", set(STATE))
    assert set(found) == set(STATE)
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.bin")
    assert set(state_from_file(tmp_path / "model.bin", set(STATE))) == set(STATE)


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a", "b")


def _cut(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:300])


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.pth": (lambda path: path.touch(), "the file is empty"),
    "folder": (lambda path: path.mkdir(), "it is a folder"),
    "missing.pth": (lambda path: None, "do not exist"),
    "text.pth": (lambda path: path.write_text("weights"), "the file holds no weights"),
    "picture.png": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 99), "the file holds no weights"),
    "array.npy": (lambda path: np.save(path, np.zeros(3)), "the file holds no weights"),
    "archive.pth": (_archive, "the file holds no weights, or is damaged"),
    "cut.pth": (_cut, "the file holds no weights"),
    "text.safetensors": (lambda path: path.write_text("{}"), "no safetensors file, or is damaged"),
    "code.pth": (lambda path: path.write_bytes(pickle.dumps(Touch())), "could run code and are not loaded"),
    "wrapped-code.pth": (lambda path: torch.save({"state_dict": Touch()}, path), "could run code and are not loaded"),
    "model.pth": (lambda path: torch.save(torch.nn.Linear(2, 2), path), "could run code and are not loaded"),
    "tensor.pth": (lambda path: torch.save(torch.zeros(3), path), "the file holds a Tensor"),
    "no-tensors.pth": (lambda path: torch.save({"epoch": 3}, path), "no tensors by name"),
    "nan.pth": (lambda path: torch.save({"conv1.weight": torch.full((2,), torch.nan)}, path), "not finite"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_holds_no_weights_is_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make, reason = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(InputError) as error:
        state_from_file(Path(name))
    said = str(error.value)
    assert reason in said
    assert repr(name) in said
    assert "\n" not in said
    assert "weights_only" not in said
    assert not (tmp_path / "ran").exists()


def test_another_networks_weights_are_said_not_to_fit(tmp_path: Path) -> None:
    from audit.images.load_backbone import load_backbone

    torch.save(models.resnet34().state_dict(), tmp_path / "r34.pth")
    with pytest.raises(InputError, match=r"do not fit resnet18 .* give the matching --backbone"):
        load_backbone(weights=str(tmp_path / "r34.pth"), device="cpu")
