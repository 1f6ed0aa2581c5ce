"""Tests that take many seconds each, and start nothing."""
