"""Several annotators of the same samples: their consensus, and how good each of them is.

labels: what they gave; confusion: what each takes for what; model: the noise model of all of them; consensus: what it
says, in tables; audited: the audit of the consensus.
"""
