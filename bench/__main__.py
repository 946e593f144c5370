"""The command: python -m bench [--quick] [--only REGEX] [--peers LIST] [--json PATH] [--markdown PATH]"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from bench import machine
from bench.cases import Case, chosen_cases
from bench.peers import PEERS, Peer
from bench.report import Run, as_json, as_markdown
from bench.run import ROOT, Series, measure_case

# --quick: enough to see that everything works and the order of magnitude, not to publish.
QUICK_ROUNDS, QUICK_SCALE = 2, 0.05
ROUNDS = 5


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="Measure allcores beside its peers.")
    add = made.add_argument
    families = ", ".join(dict.fromkeys(peer.family for peer in PEERS))
    add("--rounds", type=int, help=f"rounds per operation (default {ROUNDS}, with --quick {QUICK_ROUNDS})")
    add("--only", default="", metavar="REGEX", help="only operations whose key or title matches")
    add("--peers", default="", metavar="LIST", help=f"only these, separated by commas: {families}")
    add("--json", type=Path, default=ROOT / "out/bench.json", metavar="PATH", help="every sample")
    add("--markdown", type=Path, default=ROOT / "out/bench.md", metavar="PATH", help="the tables")
    add("--quick", action="store_true", help=f"few rounds, {QUICK_SCALE:.0%}% of the items: only a check")
    add("--scale", type=float, help="multiply the number of items in every operation")
    add("--timeout", type=float, default=120.0, help="seconds after which a sample counts as a hang")
    add("--list", action="store_true", help="list operations and peers, and stop")
    return made


def chosen_peers(names: str) -> list[Peer]:
    """The peers of --peers; a start method of multiprocessing goes with multiprocessing.

    Raises:
        SystemExit: a name is not known.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {peer.family for peer in PEERS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"bench: unknown peer {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [peer for peer in PEERS if not wanted or peer.family in wanted]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure_all(cases: Sequence[Case], peers: Sequence[Peer], options: argparse.Namespace) -> list[Series]:
    """Operation by operation; Ctrl-C ends it with what there is."""
    series: list[Series] = []
    begin = monotonic()
    try:
        for number, case in enumerate(cases, 1):
            say(f"[{number}/{len(cases)}] {case.title} ({monotonic() - begin:.0f} s so far)")
            able = [peer for peer in peers if peer.offers(case.needs)]
            series += measure_case(
                case, able, rounds=options.rounds, scale=options.scale, timeout=options.timeout, report=say
            )
    except KeyboardInterrupt:
        say("stopped: the report has the operations before this one")
    return series


def run(cases: Sequence[Case], chosen: Sequence[Peer], options: argparse.Namespace) -> Run:
    skipped = {peer.name: reason for peer in chosen if (reason := peer.missing())}
    for name, reason in skipped.items():
        say(f"{name}: left out, {reason}")
    peers = [peer for peer in chosen if peer.name not in skipped]
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv[1:],
        "machine": machine.machine(),
        "python": machine.python(),
        "packages": machine.packages(peers),
        "git": machine.commit(ROOT),
        "options": {"rounds": options.rounds, "scale": options.scale, "timeout": options.timeout},
    }
    begin = monotonic()
    series = measure_all(cases, peers, options)
    return Run(about | {"seconds": round(monotonic() - begin, 1)}, skipped, series)


def list_all(cases: Sequence[Case], peers: Sequence[Peer]) -> None:
    for case in cases:
        able = [peer.name for peer in peers if peer.offers(case.needs)]
        print(f"{case.key:18} {case.title}\n{'':18} {', '.join(able)}")
    for peer in peers:
        print(f"{peer.name}: {peer.missing() or 'here'}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    say(f"wrote {path}")


def main() -> None:
    options = parser().parse_args()
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    try:
        cases = chosen_cases(options.only)
    except re.error as error:
        raise SystemExit(f"bench: --only {options.only!r} is not a regular expression: {error}") from None
    if not cases:
        raise SystemExit(f"bench: no operation matches {options.only!r}; --list shows them")
    peers = chosen_peers(options.peers)
    if options.list:
        list_all(cases, peers)
        return
    outcome = run(cases, peers, options)
    markdown = as_markdown(outcome)
    write(options.json, json.dumps(as_json(outcome), indent=1, ensure_ascii=False) + "\n")
    write(options.markdown, markdown)
    print(markdown)


if __name__ == "__main__":
    main()
