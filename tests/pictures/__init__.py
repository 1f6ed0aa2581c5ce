"""The README's pictures, what takes them, and the figures that they show."""
