"""What is written into, read from and reviewed in FiftyOne, on a real MongoDB."""
