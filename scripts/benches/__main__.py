"""Numbers that operators ask for, from real processes of one binary, under load with its ledger.

scripts/bench builds that binary and runs this. Everything is on loopback addresses, as root in a
network of its own; nodes end with this process. Figures go to standard output, what goes on to
standard error. A run that is interrupted says what it has.
"""

import argparse
import pathlib
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

# pylint: disable=wrong-import-position
import cost
import drain
import failover
import join
import memory
import site_move
from processes import Failed, in_own_network

BENCHES = {"drain": drain, "failover": failover, "cost": cost, "join": join, "memory": memory,
           "site-move": site_move}


def main():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    benches = parser.add_subparsers(dest="bench", required=True)
    for name, bench in BENCHES.items():
        described = bench.__doc__
        words = benches.add_parser(
            name, help=described.splitlines()[0], description=described,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        words.add_argument("--keep", type=pathlib.Path, help="where logs and ledgers stay")
        bench.options(words)
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    options.own_network = in_own_network("scripts/bench")
    # Told to stop in any way it says what it has, also where a shell had it ignore interrupts.
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.default_int_handler)
    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="rotary-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        BENCHES[options.bench].run(options, folder)
    except Failed as failed:
        print(f"bench: {failed}\nbench: everything is in {folder}", file=sys.stderr)
        return 1
    if options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
