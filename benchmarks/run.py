"""Run every benchmark and print each figure with its yardstick and their ratio.

`make bench` starts this with the number of threads that the yardstick wants.
With --record the ratios are written to benchmarks/results.json.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import bench_pyilc
import bench_simulation

RESULTS = Path(__file__).parent / "results.json"


def describe(row: dict) -> str:
    limit = row.get("limit")
    reached = limit is None or (row["ratio"] >= limit if row.get("at_least") else row["ratio"] <= limit)
    bound = "" if limit is None else f"  ({'at least' if row.get('at_least') else 'at most'} {limit:g})"
    amounts = "  ".join(
        f"{key} {value:.3f}" for key, value in row.items() if key.endswith(("seconds", "gibibytes"))
    )
    return f"{'ok    ' if reached else 'MISSED'} {row['name']}: ratio {row['ratio']:.2f}{bound}  {amounts}"


def main() -> None:
    rows = [row for module in (bench_pyilc, bench_simulation) for row in module.run()]
    for row in rows:
        print(describe(row), flush=True)
    if "--record" in sys.argv:
        ratios = {row["name"]: {"ratio": round(row["ratio"], 3), "limit": row.get("limit")} for row in rows}
        RESULTS.write_text(json.dumps(ratios, indent=2) + "\n")


if __name__ == "__main__":
    main()
