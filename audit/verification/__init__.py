"""The verification sample: a few decisions on samples drawn by chance say how many labels are wrong."""
