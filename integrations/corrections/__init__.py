"""Corrected labels back where the labels came from: what was decided, and the source with it."""
