"""How long a shard has no leader, as clients see it, when one is killed, at quiet times and amid
what operators do.

Three core nodes and a gateway-only one, people at work, and in each shard a client that asks for a
command fifty times a second, at one door after the other under one key, until it is done. Again and again the
node that leads a shard is ended with SIGKILL: once with nothing else going on, once a moment after
an operator's command was given. What counts is the time from the kill until what a client of a
shard that it led asked right after it is done. An interrupt ends the run with what it has.
"""

import random
import subprocess
import sys
import time

from load import Load
from probe import EVERY_S, Probe
from processes import Cluster, Failed, quantile, table, until

GATEWAY = 4
SHARDS = 4
SETTLE_S = 600
# A shard that is led again later than this is told as an error.
LED_AGAIN_S = 120
# Between an operator's command and the kill, at most.
MOMENT_S = 0.4


def options(words):
    words.add_argument("--kills", type=int, default=200, help="half of them at quiet times")
    words.add_argument("--rate", type=float, default=4.0, help="contacts a second meanwhile")
    words.add_argument("--agents", type=int, default=120, help="at work meanwhile")
    words.add_argument("--attempt", type=float, default=0.25,
                       help="seconds after which a client asks again, at the next door")
    words.add_argument("--seed", type=int, default=1, help="of what is killed when")


class Floor:
    """The cluster, and what operators do to it. An action does its first part, lets the kill come,
    and then sees to it that what was asked for is so."""

    def __init__(self, cluster, rng, folder):
        self.cluster, self.rng, self.folder = cluster, rng, folder
        self.cores, self.next, self.shards = [1, 2, 3], GATEWAY + 1, SHARDS

    def doors(self):
        return [GATEWAY, *self.cores]

    def settle(self):
        self.cluster.ask(GATEWAY, "cluster", "status", "--wait", "--timeout-s", str(SETTLE_S))

    def ask(self, *words):
        return subprocess.Popen(self.cluster.words(GATEWAY, words), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, start_new_session=True)

    def insist(self, process, *words, but=()):
        """Waits for a command, and gives it again until it is done, or refused because it is."""
        process.wait(SETTLE_S)

        def done():
            answer = self.cluster.ask(GATEWAY, *words, expect=None)
            return answer.returncode == 0 or any(code in answer.stderr for code in but)
        if process.returncode != 0:
            until(done, " ".join(str(word) for word in words), 0.2, SETTLE_S)

    def drain(self):
        node = self.rng.choice(self.cores)
        asked = self.ask("node", "drain", node, "--wait")
        yield
        self.insist(asked, "node", "drain", node, "--wait")
        self.cluster.ask(GATEWAY, "node", "undrain", str(node))

    def new(self):
        """A node that is prepared and started, and the words that take it in."""
        new, cluster = self.next, self.cluster
        self.next += 1
        made = [cluster.binary, "cluster", "add-node", "--dir", str(cluster.folder), "--id",
                str(new), "--public", cluster.url(new)[len("http://"):], "--peer",
                cluster.peer(new)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        cluster.start(new)
        return new, [new, "--peer", cluster.peer(new), "--public", cluster.url(new), "--wait"]

    def add(self):
        new, words = self.new()
        asked = self.ask("node", "add", *words)
        yield
        self.insist(asked, "node", "add", *words, but=["node-number-used"])
        self.settle()
        self.cores.append(new)

    def decommission(self):
        node = self.cores[-1]
        asked = self.ask("node", "decommission", node, "--wait")
        yield
        self.insist(asked, "node", "decommission", node, "--wait", but=["keeps-no-replicas"])
        self.settle()
        self.dismiss(node)

    def replace(self):
        old, (new, words) = self.cores[0], self.new()
        asked = self.ask("node", "replace", old, *words)
        yield
        self.insist(asked, "node", "replace", old, *words, but=["node-number-used"])
        self.settle()
        self.cores.append(new)
        self.dismiss(old)

    def dismiss(self, node):
        self.cores.remove(node)
        self.cluster.stop(node)
        until(lambda: self.cluster.ask(GATEWAY, "node", "forget", str(node), expect=None)
              .returncode == 0, f"nd_{node} is forgotten", 0.2)

    def backup(self):
        to = ["backup", "create", "--to", str(self.folder / "backup")]
        asked = self.ask(*to)
        yield
        self.insist(asked, *to)

    def set_shards(self):
        self.shards += 1
        words = ["cluster", "set-shards", self.shards, "--wait"]
        asked = self.ask(*words)
        yield
        self.insist(asked, *words)

    def site_move(self):
        """Of a site in which people are at work: a client's own stays where it counts."""
        sites = self.cluster.read(GATEWAY, "/v1/sites")["data"]
        site = self.rng.choice([site for site in sites if not site["name"].startswith("probe")])
        shards = {f"sh_{number + 1}" for number in range(self.shards)} - {site["shard"]}
        to = self.rng.choice(sorted(shards))
        words = ["site", "move", site["site"], "--to", to, "--wait"]
        asked = self.ask(*words)
        yield
        self.insist(asked, *words)

    def rebalance(self):
        words = ["cluster", "rebalance", "--wait"]
        asked = self.ask(*words)
        yield
        self.insist(asked, *words)

    def actions(self):
        """Each leaves as many core nodes as the next expects."""
        return [("drain", self.drain), ("add", self.add), ("decommission", self.decommission),
                ("replace", self.replace), ("backup", self.backup),
                ("set-shards", self.set_shards), ("site-move", self.site_move),
                ("rebalance", self.rebalance)]


class Failover:
    """Kills, and what clients saw of them."""

    def __init__(self, floor, probes):
        self.floor, self.probes, self.seen, self.kills = floor, probes, {}, 0

    def leaders(self):
        """Of every shard that a client asks, who leads it."""
        said = self.floor.cluster.read(GATEWAY, "/v1/cluster")
        led = {shard["shard"]: shard["leader"] for shard in said["shards"]} if said else {}
        led = {probe: led.get(probe.shard) for probe in self.probes}
        return led if all(led.values()) else None

    def kill(self, phase):
        """Ends a leader, and brings it back once its shards have another."""
        led = until(self.leaders, "every shard has a leader", 0.02)
        chosen = led[self.floor.rng.choice(self.probes)]
        node = int(chosen.removeprefix("nd_"))
        if node not in self.floor.cluster.running:
            return
        at = self.floor.cluster.kill(node)
        lost = [probe for probe, leader in led.items() if leader == chosen]
        for probe in lost:
            until(lambda probe=probe: probe.waited(at) is not None, "a shard is led again",
                  EVERY_S, LED_AGAIN_S)
        self.seen.setdefault(phase, []).append([probe.waited(at) * 1000 for probe in lost])
        self.kills += 1
        self.floor.cluster.start(node)
        told = ", ".join(f"{ms:.0f}" for ms in self.seen[phase][-1])
        print(f"bench: kill {self.kills}, {phase}: nd_{node} led {len(lost)}: {told} ms",
              file=sys.stderr)

    def pair(self, name, action):
        """A kill at a quiet time, and one amid an action."""
        self.kill("quiet")
        self.floor.settle()
        under_way = action()
        next(under_way)
        time.sleep(self.floor.rng.uniform(0, MOMENT_S))
        self.kill(name)
        for _ in under_way:
            pass
        self.floor.settle()

    def tell(self):
        rows = [("a leader killed", "kills", "shards", "p50 ms", "p99 ms", "worst ms")]
        whole = {"amid an action": sum((self.seen[name] for name in self.seen if name != "quiet"),
                                       [])}
        for name, kills in [*self.seen.items(), *whole.items()]:
            shards = [ms for kill in kills for ms in kill]
            if shards:
                of = [f"{quantile(shards, percent):.0f}" for percent in (50, 99, 100)]
                rows.append((name, len(kills), len(shards), *of))
        print(f"\n{self.kills} kills; from the kill to a client's first command that was asked "
              f"after it and done, of each shard that was led there\n\n{table(rows)}", flush=True)


def play(failover, kills):
    """Action after action, each with a kill before and amid it, until there were enough."""
    try:
        while failover.kills < kills:
            for name, action in failover.floor.actions():
                if failover.kills < kills:
                    failover.pair(name, action)
    except KeyboardInterrupt:
        print("bench: interrupted; this is what there is", file=sys.stderr)
    finally:
        failover.tell()


def run(options, folder):
    cluster = Cluster(folder, options.binary, 3, 1, SHARDS, room=options.kills)
    load, probes = None, []
    try:
        cluster.start_all()
        floor = Floor(cluster, random.Random(options.seed), folder)
        floor.settle()
        tenant = cluster.made(1, "/v1/tenants", {"name": "probes"})["tenant"]
        probes = [Probe(cluster, floor.doors, options.attempt, tenant, number)
                  for number in range(SHARDS)]
        # A day of it lasts for an hour and a half.
        load = Load(cluster, folder / "load", [GATEWAY], options.rate, options.agents, speed=16)
        play(Failover(floor, probes), options.kills)
        for probe in probes:
            probe.end()
        print("bench: the load ends, and is judged", file=sys.stderr)
        print(load.finish(), end="")
    finally:
        for probe in probes:
            probe.ended.set()
        if load:
            load.end()
        cluster.end()
