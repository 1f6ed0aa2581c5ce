"""Audits in several processes, some of which are killed; no MongoDB."""
