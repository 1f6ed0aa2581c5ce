"""What each sample does for the validation loss: exact influence functions, and pyDVL's beside them."""
