"""Measures two ways of one job: ours and the peer's.

`compare` runs both once and checks that the results agree, then runs both in turn. `write` writes the figures to
docs/data/bench_NAME.json, of which `python docs/write_benchmarks.py` makes the tables of docs/benchmarks.md.
The ratio is of CPU time, pair by pair, since the machine may have other work. Where one way waits in a loop or shares
its work out to more threads than the other, the ratio is of wall time, and the machine must have no other work.
"""

import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backbones.whole_files import write_json
from residet.fingerprint import environment

DATA = Path(__file__).parents[1] / "docs" / "data"


@dataclass(frozen=True)
class Job:
    """One job, done in two ways.

    Attributes:
        name: what is done, with the sizes that the time depends on.
        ours: does the job with residet, and returns the result.
        peer: does the job with the peer, and returns the result.
        peer_name: the peer.
        check: raises AssertionError unless the two results, ours first, agree.
        tolerance: how well the results agree, in words.
        least: the ratio that we want to reach.
        pairs: number of times that each way is measured.
        clock: "cpu" or "wall": the time that the ratio is of.
    """

    name: str
    ours: Callable[[], object]
    peer: Callable[[], object]
    peer_name: str
    check: Callable[[object, object], None]
    tolerance: str
    least: float
    pairs: int
    clock: str = "cpu"


def compare(job: Job) -> dict:
    """Checks that both ways give the same, measures them in turn, and prints and returns the figures."""
    job.check(job.ours(), job.peer())
    seconds = {clock: {"ours": [], "peer": []} for clock in ("cpu", "wall")}
    for _ in range(job.pairs):
        for way, run in (("ours", job.ours), ("peer", job.peer)):
            started, cpu = time.perf_counter(), time.process_time()
            run()
            seconds["cpu"][way].append(time.process_time() - cpu)
            seconds["wall"][way].append(time.perf_counter() - started)
    row = {"job": job.name, "peer": job.peer_name, "check": job.tolerance, "least": job.least, "pairs": job.pairs}
    row |= {f"{way}_{clock}_seconds": _spread(v) for clock, ways in seconds.items() for way, v in ways.items()}
    ours, peer = seconds[job.clock].values()
    row |= {"clock": job.clock, "ratio": _spread([b / a for a, b in zip(ours, peer, strict=True)])}
    print(json.dumps(row), flush=True)
    return row


def _spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest value, with four significant digits."""
    figures = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.4g}") for name, value in figures.items()}


def write(question: str, rows: list[dict]) -> None:
    """Writes the figures of the script that runs, with machine, versions, load and date.

    Args:
        question: what the script answers, one sentence.
        rows: what `compare` returned.
    """
    script = Path(sys.argv[0])
    content = {"question": question, "command": f"benchmarks/{script.name}", "rows": rows}
    content |= {"environment": environment(), "load_average": [round(x, 1) for x in os.getloadavg()]}
    content["threads"] = os.environ.get("OMP_NUM_THREADS", "all")
    content["date"] = datetime.date.today().isoformat()
    write_json(content, DATA / f"bench_{script.stem}.json")
