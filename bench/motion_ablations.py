"""Motion systems without one part after the other, at one short budget each, beside the papers' orders.

    python bench/motion_ablations.py SET OUT [--systems emotag ...] [--steps 800] [--clips 8] [--page PAGE]

SET is a folder of `soliloquy studio perform`. Checkpoints and OUT/ablations.json are kept: the same line again goes on
where it was stopped, and without --systems, --steps, --clips these are the folder's own. What the folder holds of
another set, recipe or head is refused. --again measures once more; --page writes the tables into a page; reasons for
what differs from the papers come from the page's own .why.json beside it, EmoVOCA's rows from --emovoca, the file of
bench/emovoca_tables.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.core.errors import SoliloquyError
from engine.core.files import read_json
from engine.train import motion_ablations


def main() -> None:
    """The command at the module's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", nargs="*", default=[], choices=list(motion_ablations.RECIPES))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--clips", type=int)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--emovoca", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        print(tables(args))
    except SoliloquyError as error:
        sys.exit(f"error: {error}")  # to stderr, with exit status 1


def tables(args: argparse.Namespace) -> str:
    """Train, measure, and the tables as Markdown, written into the page if there is one."""
    result = motion_ablations.run(args.work, args.out, args.systems, args.steps, args.clips, again=args.again)
    reasons = args.page.with_suffix(".why.json") if args.page else None
    why = read_json(reasons) if reasons and reasons.is_file() else {}
    rows = motion_ablations.emovoca_rows(args.emovoca.read_text().splitlines()) if args.emovoca else None
    text = motion_ablations.markdown(result, why, rows)
    if args.page:
        motion_ablations.write_page(args.page, text)
    return text


if __name__ == "__main__":
    main()
