"""Matrices with one row per sample, threads, and memory."""
