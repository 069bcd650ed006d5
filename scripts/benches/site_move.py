"""How long a site stands still that moves to another shard while it has many live conversations,
and what that is to other sites.

Three core nodes. One site has the conversations: chats of as many customers, waiting with a message
each. In every shard another site has a client that asks for a command fifty times a second, as one
does of the site itself. The site goes to a shard and back, again and again. Its pause is the
longest wait of its own client around a move; what the others waited is told apart by whether
their shard passed the site on, or received it, or had nothing to do with it.
"""

import http.client
import json
import re
import subprocess
import sys
import threading
import time

from probe import Probe
from processes import LIMIT_S, LOOPBACK, Cluster, Failed, quantile, request, table, until, uuid7

SHARDS = 4
CLIENTS = 8
# After a move, for what waited to be done and the next quiet time to be quiet.
SETTLE_S = 2.0
QUIET_S = 5.0
MOVE_S = 600


def options(words):
    words.add_argument("--conversations", type=int, default=100_000, help="live in the site")
    words.add_argument("--moves", type=int, default=10, help="of it")


class Opener(threading.Thread):
    """A client that opens chats, one after the other."""

    def __init__(self, cluster, door, site, numbers):
        super().__init__(daemon=True)
        self.cluster, self.door, self.numbers = cluster, door, numbers
        self.path, self.opened, self.why = f"/v1/sites/{site}/conversations", 0, None
        self.start()

    def run(self):
        try:
            connection = http.client.HTTPConnection(LOOPBACK, self.cluster.port(self.door), timeout=60)
            for number in self.numbers:
                self.open(connection, number)
                self.opened += 1
        except (OSError, http.client.HTTPException, Failed) as why:
            self.why = why

    def open(self, connection, number):
        headers = {"content-type": "application/json", "idempotency-key": uuid7(),
                   "authorization": f"Bearer {self.cluster.token}"}
        text = {"text": {"text": "Good morning, I have a question."}}
        body = json.dumps({
            "queue": "qu_1", "channel": "chat", "customer": f"cu_{number:032x}",
            "item": {"id": f"it_{number:032x}", "body": text}})
        while True:
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status == 201:
                return
            if answer.status not in (429, 503):
                raise Failed(f"{self.path} answers {answer.status}: {said.decode()}")
            time.sleep(0.05)


def fill(cluster, site, count):
    """Opens that many conversations."""
    plan = {"name": "Questions", "wait_max_ms": 86_400_000}
    status, said = request(cluster.port(1), "PUT", f"/v1/sites/{site}/queues/qu_1",
                           cluster.token, uuid7(), plan, LIMIT_S)
    if status != 200:
        raise Failed(f"the queue is answered {status}: {said.decode()}")
    openers = [Opener(cluster, cluster.cores[at % len(cluster.cores)], site,
                      range(1 + at, count + 1, CLIENTS)) for at in range(CLIENTS)]
    begun = time.monotonic()
    while any(opener.is_alive() for opener in openers):
        time.sleep(5)
        opened = sum(opener.opened for opener in openers)
        print(f"bench: {opened} opened after {time.monotonic() - begun:.0f} s", file=sys.stderr)
    for opener in openers:
        if opener.why:
            raise Failed(str(opener.why))


class Floor:
    """Who asks for something meanwhile."""

    def __init__(self, cluster, tenant, site, home):
        def doors():
            return cluster.cores
        self.own = Probe(cluster, doors, 60, site=site)
        # A tenant's sites go to the shards that have the fewest.
        self.others, number = {}, 0
        while len(self.others) < SHARDS:
            number += 1
            probe = Probe(cluster, doors, 60, tenant, number)
            if self.others.setdefault(probe.shard, probe) is not probe:
                probe.end()
        self.home = home

    def end(self):
        for probe in [self.own, *self.others.values()]:
            probe.end()


def waits_ms(probe, begin, end):
    """What a client waited whose asking fell between two moments."""
    asked = list(probe.asked)
    return [(done - begun) * 1000 for begun, done in asked if done > begin and begun < end]


def measured(cluster, floor, site, moves):
    """Moves the site to and fro; the waits of everybody."""
    pauses, took = [], []
    seen = {"quiet": [], "passed it on": [], "received it": [], "neither": []}
    here, there = floor.home, next(shard for shard in floor.others if shard != floor.home)
    for number in range(moves):
        begin = time.monotonic()
        time.sleep(QUIET_S)
        end = time.monotonic()
        for probe in floor.others.values():
            seen["quiet"] += waits_ms(probe, begin, end)
        begin = time.monotonic()
        asked = cluster.words(cluster.cores[0], ["site", "move", site, "--to", there, "--wait"])
        if subprocess.run(asked, stdout=subprocess.DEVNULL, timeout=MOVE_S, check=False).returncode:
            raise Failed("site move failed")
        end = time.monotonic()
        took.append(end - begin)
        time.sleep(SETTLE_S)
        until(lambda: any(b > end for b, _ in floor.own.asked[-5:]), "the site goes on", 0.1, MOVE_S)
        pauses.append(max(waits_ms(floor.own, begin, end)))
        for shard, probe in floor.others.items():
            what = {here: "passed it on", there: "received it"}.get(shard, "neither")
            seen[what] += waits_ms(probe, begin, end)
        print(f"bench: move {number + 1}: pause {pauses[-1]:.0f} ms, whole {took[-1]:.1f} s",
              file=sys.stderr)
        here, there = there, here
    return pauses, took, seen


def tell(count, pauses, took, seen, told):
    print(f"\n{len(pauses)} moves of a site with {count} live conversations: pause "
          f"{quantile(pauses, 50):.0f} ms at the median, {max(pauses):.0f} ms at worst; as the "
          f"command sees it {quantile(took, 50):.1f} s; the state has {told}\n")
    rows = [("other sites, ms", "asked", "median", "p99", "worst", "p99 added")]
    quiet = quantile(seen["quiet"], 99)
    for name, waits in seen.items():
        p99 = quantile(waits, 99)
        rows.append((name if name == "quiet" else f"their shard {name}", len(waits),
                     f"{quantile(waits, 50):.1f}", f"{p99:.1f}", f"{max(waits):.0f}",
                     f"{p99 - quiet:.1f}"))
    print(table(rows), flush=True)


def state(folder):
    """How large the state was, as the nodes say."""
    told = re.findall(r'"?bytes"?[=:] ?(\d+)', (folder / "nodes.log").read_text())
    return f"{int(told[-1]) / (1 << 20):.1f} MiB" if told else "an unknown size"


def run(options, folder):
    cluster, floor = Cluster(folder, options.binary, 3, 0, SHARDS), None
    try:
        cluster.start_all()
        tenant = cluster.made(1, "/v1/tenants", {"name": "Bench"})["tenant"]
        settings = {"tenant": tenant, "settings": {"name": "moves"}}
        made = cluster.made(1, "/v1/sites", settings)
        fill(cluster, made["site"], options.conversations)
        floor = Floor(cluster, tenant, made["site"], made["shard"])
        pauses, took, seen = measured(cluster, floor, made["site"], options.moves)
        tell(options.conversations, pauses, took, seen, state(folder))
    finally:
        if floor:
            floor.end()
        cluster.end()
