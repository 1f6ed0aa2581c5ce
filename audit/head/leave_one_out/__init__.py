"""What the head would predict for a sample had it not been trained on it, in closed form: a file for each method."""
