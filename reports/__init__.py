"""Present a saved audit to people: figures, the HTML report and other pages."""
