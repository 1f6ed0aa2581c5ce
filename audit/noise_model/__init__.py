"""How likely each label is wrong: a latent-label model, the readings it weighs, and controls of known mislabels."""
