"""The help of the panel, which its (?) shows."""

HELP = """
**Label audit** finds labels that are probably wrong and lets you decide on them.

1. Choose an audit, or start one.
2. Move the threshold: the grid shows the samples at or above it, the most suspicious first. A click on a class shows
   that class.
3. Look at the next sample here, or select or open one: *given* is its label, *suggested* what the audit would give it,
   and the small pictures are those most like it; a frame marks those whose own label is suspect.
4. **Accept** the suggestion, **confirm** that the label is wrong, **dismiss** the flag, or say that you are **unsure**.
   **Undo** takes your last decision back. Keys: Shift with A, C, D, S or U, N for the next sample, and Z to zoom; 1 to
   3 for the classes on the buttons; Shift with L to type another label. A key that comes before the picture is ignored.
   The third class is the likeliest of the others.
   *Label by hand* opens the App's own editor, which writes into the label field at once. *Decide in batches* shows all
   flags of a class pair, to decide on them at once. *Class matrix* shows the class pairs and *Map* the pictures, both
   linked with the grid. *Reviewer* names you, and splits the samples among several people.
5. **Check the audit**: decide 40 pictures that are drawn by chance, without seeing what the audit thinks of them. Keys:
   Shift with R (the label is right), W (wrong), U (cannot say), and Z to take the last one back. The decisions say how
   many labels are wrong. *Use these decisions* lets suspicions and flags follow them; you can take that back.
6. **Apply corrections** writes the corrected labels into the label field; the old ones are kept.

Suspicion is the model's probability that the label is wrong, 0 to 1. Influence is what the sample does for the mean
validation loss: positive helps, negative harms.
"""
