"""Matrices with one row a sample, threads and memory: what every computation stands on."""
