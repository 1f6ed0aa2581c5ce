"""What is wrong with a dataset beside single labels: copies, leaks, pictures that fit no class, bad pictures.

A **check** looks at the audited samples and yields **findings**: of what kind each is, how sure, which samples, what
was seen, and what acting on it is worth. `contract.py` defines both, `registry.py` lists the checks, `kinds.py` says
what each kind means and what to do. `--findings` chooses checks by name. A check that fails does not stop the others.

How to add a check:

1. Write a function from `Audited` to findings. It may use embeddings, labels, splits, suspicions and, where a backbone
   looked at pictures, their grey copies and measures (`audit.images.traits`).
2. Say what it finds: a `Kind` with a name, a title, what it means, what to do, and from where on it is reported.
3. Register it, in the process that audits:

       from audit.findings import Check, Finding, Kind, register

       def short(audited):
           for row, measures in enumerate(audited.traits.measures):
               if measures[Measure.HEIGHT] < 32:
                   yield Finding(kind="low", evidence=f"{measures[Measure.HEIGHT]:.0f} pixels high", samples=(row,))

       LOW = Kind(name="low", title="Low pictures", meaning="Less than 32 pixels high.", advice="Remove it.")
       register(Check(name="heights", kinds=(LOW,), find=short))

   A package that offers the check as an entry point of the group `influence_audit.findings` need not call `register`:
   then the command makes it, too.

A check of this package is a module here and an entry in `registry.py`; its kinds are in `kinds.py`.
"""

from audit.findings.contract import Audited, Check, Finding, Kind
from audit.findings.registry import checks, register, unregister

__all__ = ["Audited", "Check", "Finding", "Kind", "checks", "register", "unregister"]
