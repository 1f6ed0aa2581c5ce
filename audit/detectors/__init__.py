"""Detectors: evidence in, one score a sample out."""

from audit.detectors.scores import DETECTORS, Detector, Evidence, of_classes, register

__all__ = ["DETECTORS", "Detector", "Evidence", "of_classes", "register"]
