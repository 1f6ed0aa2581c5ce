"""The audit and every peer on all development data: `python -m tests.benchmarks.peers`.

Where `tests.benchmarks.detection` measures three seeds, flags and seconds, this asks one question of each labelling: is
any peer ahead? INFLUENCE_AUDIT_DATA names the folder of the development data.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from integrations.benchmark import OURS, Case, Measurement, mean_by_case, run_cases
from tests.benchmarks.data import data_folder
from tests.benchmarks.detection import NO_IMAGES, SETS, Embed, bundled, few_samples
from tests.benchmarks.influence import described, machine

TABLE = Path(__file__).with_suffix(".md")
INTRODUCTION = """# Is any peer ahead?

Made by `python -m tests.benchmarks.peers` on the development data, seed 0 (iris, wine and breast cancer: means of seeds
0 to 9). All methods get the same embeddings and labels. In each cell: average precision of the ranking, and in brackets
1 − P@k, the share of the wrong labels that is missed among as many samples as are wrong. *peer ahead*: the best peer,
where its number is better than the audit's."""
SHOWN = (OURS, "cleanlab self_confidence")


def table(measurements: Sequence[Measurement]) -> list[str]:
    """A row for every labelling: ours, cleanlab's, the best other peer, and who is ahead."""
    precisions = mean_by_case(list(measurements), "average_precision")
    hits = mean_by_case(list(measurements), "precision_at_wrong")
    lines = [_row("labels", *SHOWN, "best peer", "peer ahead"), _row(*["---"] * 5)]
    for case, by_method in precisions.items():
        found = {name: value for name, value in by_method.items() if value is not None and _is_method(name)}
        peers = {name: value for name, value in found.items() if name != OURS}
        best = max(peers, key=lambda name: peers[name])
        at_k = {name: hits[case][name] or 0.0 for name in found}
        ahead = [f"{best}, average precision by {peers[best] - found[OURS]:.3f}"] if peers[best] > found[OURS] else []
        most = max(peers, key=lambda name: at_k[name])
        if at_k[most] > at_k[OURS]:
            ahead.append(f"{most}, 1 − P@k by {at_k[most] - at_k[OURS]:.3f}")
        cells = [f"{found[name]:.3f} ({1 - at_k[name]:.3f})" for name in SHOWN]
        lines.append(_row(case, *cells, f"{best}: {found[best]:.3f} ({1 - at_k[best]:.3f})", "; ".join(ahead)))
    return lines


def _is_method(name: str) -> bool:
    """Whether it is the audit or a peer, and not a part of the audit."""
    return not name.startswith(("averaged influence", "self-influence"))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def cases_of(name: str, embed: Embed) -> list[Case]:
    """Seed 0 of a set; ten seeds of small tables, where one or two samples decide."""
    if name == NO_IMAGES:
        return few_samples(embed, range(10))
    return [case for case in SETS[name](embed) if case.seed == 0]


def main() -> None:
    """Measure all labellings, and write peers.md after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--set", choices=SETS, action="append", help="only this one; can be given several times")
    names = parser.parse_args().set or list(SETS)
    data_folder()  # ends here where it is missing
    where, (title, embed) = machine(), bundled()
    measured: list[Measurement] = []
    for name in names:
        for case in cases_of(name, embed):
            measured += run_cases([case])
            parts = [INTRODUCTION, "\n".join(table(measured)), f"{title}; {described(where)}"]
            TABLE.write_text("\n\n".join(parts) + "\n")
            print(table(measured)[-1], flush=True)


if __name__ == "__main__":
    main()
