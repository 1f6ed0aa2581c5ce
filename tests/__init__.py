"""The tests; CONTRIBUTING.md says what is in which folder."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
