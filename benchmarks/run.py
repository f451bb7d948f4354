"""Run every benchmark and print each figure with its yardstick and their ratio.

Started by `make bench`. With --record the ratios are also written to
benchmarks/results.json. With --large those that need minutes and much memory
run too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
RUNS = (
    ("bench_pyilc", 2),
    ("bench_simulation", 1),
    ("bench_simulation", 2),
    ("bench_containers", 1),
    ("bench_noise", 1),
    ("bench_planes", 1),
    ("bench_training", 1),
    ("bench_petroff", 1),
)
"""Module, and threads: OpenMP takes their number when it is loaded, so that each run is a process."""

LARGE = (("bench_foregrounds", 2), ("bench_petroff_large", 1), ("bench_petroff_large", 2))
"""What runs only with --large, too."""

PROGRAM = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); import {module}; print(json.dumps({module}.run()))"
)


def measure(module: str, threads: int) -> list[dict]:
    command = [sys.executable, "-c", PROGRAM.format(module=module), str(FOLDER)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    rows: list[dict] = json.loads(output.splitlines()[-1])
    return [{**row, "threads": threads} for row in rows]


def is_reached(row: dict) -> bool:
    limit = row.get("limit")
    return limit is None or (row["ratio"] >= limit if row.get("at_least") else row["ratio"] <= limit)


def describe(row: dict) -> str:
    limit = row.get("limit")
    bound = "" if limit is None else f" ({'at least' if row.get('at_least') else 'at most'} {limit:g})"
    amounts = ", ".join(
        f"{key.replace('_', ' ')} {value:.3f}"
        for key, value in row.items()
        if key.endswith(("seconds", "gibibytes"))
    )
    verdict = "      " if limit is None else "ok    " if is_reached(row) else "MISSED"
    return f"{verdict} {row['name']}, threads {row['threads']}: ratio {row['ratio']:.2f}{bound}; {amounts}"


def main() -> int:
    """Return how many figures missed their limit."""
    rows = []
    for module, threads in (*RUNS, *(LARGE if "--large" in sys.argv else ())):
        for row in measure(module, threads):
            rows.append(row)
            print(describe(row), flush=True)
    if "--record" in sys.argv:
        kept = ("name", "threads", "ratio", "limit", "at_least")
        RESULTS.write_text(json.dumps([{k: r[k] for k in kept if k in r} for r in rows], indent=2) + "\n")
    return sum(not is_reached(row) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
