"""What a distribution costs: the processor's time, the wire's and the disks' bytes, at 3, 5 and 7
core nodes, at 4, 8 and 16 busy sites, and at more contacts a second.

A distribution is a contact whose offer was accepted, with all that belongs to it: it is opened, may
wait, is offered, accepted, talked or written in, closed and wrapped up; the ledger says how many
commands that were. Every cluster runs by itself, rested first and then loaded, in turns: the next
round does them in the other order. What it used at rest is taken off. Ratios are to the first
cluster of the same round. On a machine that others use, the ratios are worth more than the times.
"""

import statistics
import sys
import time

import chart
from load import Load
from processes import Cluster, loopback_bytes, table, written_bytes

# Nodes, sites and how many times the rate; the first is what the others are compared with.
CLUSTERS = ((3, 4, 1), (5, 4, 1), (7, 4, 1), (3, 8, 1), (3, 16, 1), (3, 4, 3))
SHARDS = 8
AGENTS = 256
REST_S = 8
WARM_S = 5


def options(words):
    words.add_argument("--rate", type=float, default=20.0, help="contacts a second, in all sites")
    words.add_argument("--rounds", type=int, default=3, help="of every cluster")
    words.add_argument("--seconds", type=float, default=20.0, help="to look at each")
    words.add_argument("--picture", help="an SVG file to write")


class Meter:
    """What core nodes, and the loopback, have used since."""

    def __init__(self, cluster, own_network):
        self.cluster, self.own_network = cluster, own_network
        self.begun, self.before = time.monotonic(), self.now()

    def now(self):
        pids = [self.cluster.running[node].pid for node in self.cluster.cores]
        wire = loopback_bytes() if self.own_network else 0
        return (self.cluster.cpu_s(self.cluster.cores), wire, sum(map(written_bytes, pids)))

    def each_second(self):
        """The same for each second, and how many those were."""
        took = time.monotonic() - self.begun
        return [(now - before) / took for now, before in zip(self.now(), self.before)], took


def measured(options, folder, kind):
    """One cluster, at rest and loaded."""
    nodes, sites, times = kind
    cluster, load = Cluster(folder, options.binary, nodes, 0, SHARDS), None
    try:
        cluster.start_all()
        cluster.ask(1, "cluster", "status", "--wait")
        meter = Meter(cluster, options.own_network)
        time.sleep(REST_S)
        rest, _ = meter.each_second()
        rate = options.rate * times
        load = Load(cluster, folder / "load", cluster.cores, rate, AGENTS * times, sites=sites)
        time.sleep(WARM_S)
        begin, meter = load.place(), Meter(cluster, options.own_network)
        time.sleep(options.seconds)
        (busy, took), end = meter.each_second(), load.place()
        load.finish()
        commands, contacts = load.done(begin, end)
    finally:
        if load:
            load.end()
        cluster.end()
    cpu, wire, disk = ((more - less) * took / contacts for more, less in zip(busy, rest))
    return {"rate": contacts / took, "commands": commands / contacts, "rest": rest[0],
            "busy": busy[0], "cpu_ms": cpu * 1000, "wire_kib": wire / 1024,
            "disk_kib": disk / 1024 / nodes}


def median(rounds, kind, key):
    return statistics.median(seen[kind][key] for seen in rounds)


def ratio(rounds, kind):
    """Of the processor's time, to the first cluster of the same round."""
    return statistics.median(
        seen[kind]["cpu_ms"] / seen[CLUSTERS[0]]["cpu_ms"] for seen in rounds)


def tell(rounds, own_network):
    rows = [("nodes", "sites", "a second", "commands", "cores at rest", "cores", "CPU each, ms",
             "least", "most", "ratio", "a node, ms", "wire, KiB", "disk of a node, KiB")]
    for kind in CLUSTERS:
        each = [seen[kind]["cpu_ms"] for seen in rounds]
        of = lambda key, kind=kind: median(rounds, kind, key)
        wire = f"{of('wire_kib'):.1f}" if own_network else "-"
        rows.append((kind[0], kind[1], f"{of('rate'):.1f}", f"{of('commands'):.1f}",
                     f"{of('rest'):.2f}", f"{of('busy'):.2f}", f"{statistics.median(each):.2f}",
                     f"{min(each):.2f}", f"{max(each):.2f}", f"{ratio(rounds, kind):.2f}",
                     f"{statistics.median(each) / kind[0]:.2f}", wire, f"{of('disk_kib'):.1f}"))
    print(f"\n{len(rounds)} rounds, medians; each is a contact with all that belongs to it, above "
          f"what the cluster uses at rest; the wire has the clients' bytes too\n")
    print(table(rows), flush=True)


def run(options, folder):
    rounds = []
    try:
        for number in range(options.rounds):
            seen, order = {}, CLUSTERS if number % 2 == 0 else CLUSTERS[::-1]
            for kind in order:
                home = folder / f"{number}-{'-'.join(map(str, kind))}"
                home.mkdir()
                seen[kind] = measured(options, home, kind)
                told = ", ".join(f"{key} {value:.2f}" for key, value in seen[kind].items())
                print(f"bench: round {number + 1}, {kind[0]} nodes, {kind[1]} sites: {told}",
                      file=sys.stderr)
            rounds.append(seen)
    except KeyboardInterrupt:
        print("bench: interrupted; this is what there is", file=sys.stderr)
    finally:
        if rounds:
            tell(rounds, options.own_network)
    if rounds and options.picture:
        of = lambda kinds, place: [(kind[place], [seen[kind]["cpu_ms"] for seen in rounds])
                                   for kind in kinds]
        by_nodes, by_sites = of(CLUSTERS[:3], 0), of((CLUSTERS[0], *CLUSTERS[3:5]), 1)
        chart.draw(options.picture, by_nodes, by_sites, median(rounds, CLUSTERS[0], "rate"))
