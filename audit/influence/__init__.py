"""Influence functions of the softmax head: exact, in closed form or by preconditioned conjugate gradients."""
