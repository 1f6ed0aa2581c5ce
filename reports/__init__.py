"""What a saved audit looks like to a person: figures and the HTML report."""
