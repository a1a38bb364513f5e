"""Whether a threshold holds on pages that had no part in it: many random halvings of transcribed pages.

    python benchmarks/halves.py FOLDER [--target 0.99] [--halvings 60]

The pages are read once.  Each halving is used both ways, as `archive threshold` does with its one: confidence
fitted and threshold chosen on one half, used on the other.
"""

import argparse
from pathlib import Path

import numpy as np
from machine import describe_machine

from cli.accepting import KINDS, answered_pages, tried
from pipeline.settings import load_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", type=float, default=0.99)
    parser.add_argument("--halvings", type=int, default=60)
    args = parser.parse_args()
    print(describe_machine())
    pages, _ = answered_pages(load_settings(), args.folder)
    rng = np.random.default_rng(0)
    for place, kind in enumerate(KINDS):
        shares, kept, n_none = [], [], 0
        for _ in range(args.halvings):
            order = rng.permutation(len(pages))
            halves = [[pages[k] for k in some] for some in np.array_split(order, 2)]
            for chosen_on, used_on in (halves, halves[::-1]):
                answer = tried(chosen_on, used_on, place, args.target)
                if answer.threshold is None or answer.kept.right_of_kept is None:
                    n_none += 1
                    continue
                shares.append(answer.kept.right_of_kept)
                kept.append(answer.kept.kept)
        n_held = sum(share >= args.target - 0.005 for share in shares)
        print(
            f"{kind}: of {2 * args.halvings}, {n_none} have no threshold, {n_held} hold within 0.5 %,"
            f" {len(shares) - n_held} do not; right of what is kept: median {np.median(shares):.4f},"
            f" lowest {min(shares):.4f}; kept: median {np.median(kept):.1%}"
        )


if __name__ == "__main__":
    main()
