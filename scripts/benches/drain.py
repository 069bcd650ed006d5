"""How long it takes to drain a node with thousands of sessions, and what that is to them.

Two loads, one after the other, on three core nodes and two gateway-only ones: in the first the
sessions are at the three core nodes themselves, in the second all at one gateway. A core node with
a third of them, and then that gateway, is drained and undrained. An event's delay is from the wall time of its entry to the
client's reading it, both on this machine's clock; "nothing heard" is what a client sees that had to
go on elsewhere.
"""

import statistics
import subprocess
import sys
import time

from load import Load
from processes import Cluster, Failed, quantile, table


def options(words):
    words.add_argument("--sessions", type=int, default=2_000, help="of the node that is drained")
    words.add_argument("--rate", type=float, default=20.0, help="contacts a second meanwhile")
    words.add_argument("--seconds", type=float, default=15.0, help="to look at quiet times")


def sessions(cluster, node, asked):
    """How many a node says it has."""
    said = cluster.read(asked, "/v1/cluster")
    rows = said["nodes"] + said["gateways"] if said else []
    return next((row["sessions"] for row in rows if row["node"] == f"nd_{node}"), None)


def drained(cluster, load, node, asked):
    """Drains a node; how long it took until it had no session, and until it was empty."""
    begun = time.monotonic()
    process = subprocess.Popen(
        cluster.words(asked, ["node", "drain", node, "--wait"]),
        stdout=load.told.with_name("drain.txt").open("w"))
    left = None
    while process.poll() is None:
        if left is None and sessions(cluster, node, asked) == 0:
            left = time.monotonic() - begun
        time.sleep(0.05)
    if process.returncode != 0:
        raise Failed(f"node drain ended with {process.returncode}")
    took = time.monotonic() - begun
    return took if left is None else left, took


def measured(cluster, folder, options, doors):
    """A load with its sessions at `doors`, the first of which is drained."""
    node, asked = doors[0], cluster.cores[-1]
    load = Load(cluster, folder, doors, options.rate, options.sessions * len(doors))
    try:
        time.sleep(options.seconds)
        places, had = [load.place()], sessions(cluster, node, asked)
        time.sleep(options.seconds)
        places.append(load.place())
        print(f"bench: draining nd_{node}, which has {had} sessions", file=sys.stderr)
        left, empty = drained(cluster, load, node, asked)
        places.append(load.place())
        cluster.ask(asked, "node", "undrain", node)
        time.sleep(options.seconds)
        places.append(load.place())
        print("bench: the load ends, and is judged", file=sys.stderr)
        verdict = load.finish()
    finally:
        load.end()
    return {"had": had, "left": left, "empty": empty, "verdict": verdict, "load": load,
            "phases": list(zip(("quiet", "drained", "undrained"), places, places[1:]))}


def tell(name, seen):
    load = seen["load"]
    print(f"\n{name} with {seen['had']} sessions: without any after {seen['left']:.1f} s, empty "
          f"after {seen['empty']:.1f} s\n")
    rows = [("events, ms", "read", "median", "p99", "worst", "p99 added", "worst added")]
    quiet = sorted(load.delays_ms(*seen["phases"][0][1:]))
    for phase, begin, end in seen["phases"]:
        took = load.delays_ms(begin, end)
        p99, worst = quantile(took, 99), max(took)
        added = (p99 - quantile(quiet, 99), worst - quiet[-1])
        rows.append((phase, len(took), f"{statistics.median(took):.0f}", p99, worst, *added))
    print(table(rows))
    _, begin, end = seen["phases"][1]
    outages = load.outages_ms(begin, end)
    if outages:
        print(f"\n{len(outages)} clients moved, and heard nothing for {quantile(outages, 50)} ms at "
              f"the median, {quantile(outages, 99)} ms at p99, {max(outages)} ms at worst")
    print(f"sessions lost {load.begun_anew()}, agents signed out {load.signed_out()}")
    print(seen["verdict"], end="")


def run(options, folder):
    cluster = Cluster(folder, options.binary, 3, 2)
    try:
        cluster.start_all()
        for name, doors in (("a core node", cluster.cores),
                            ("a gateway", cluster.gateways[:1])):
            tell(name, measured(cluster, folder / name.split()[-1], options, doors))
    finally:
        cluster.end()
