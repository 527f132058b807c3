"""Draw the ten images of each target domain that lie under examples/10shots.

    python examples/draw_10shots.py [OUT]

The seeds are none of those that the source model `avatars` was trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

from antcli.drawn_faces.domains import TARGETS, avatar

FIRST_SEED = 900_000
SIZE = 128


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "10shots"
    for domain in TARGETS:
        (out / domain).mkdir(parents=True, exist_ok=True)
        for i in range(10):
            avatar(FIRST_SEED + i, SIZE, domain)[0].save(out / domain / f"{i}.png", optimize=True)


if __name__ == "__main__":
    main()
