"""How long a node takes from its join token to serving, under load and with a history.

A token is made, the folder fetched with it, the node started and taken in; then it is let go again,
and the next one joins. It serves once its /readyz is 200 and every shard has it as it is to be.
"""

import statistics
import subprocess
import sys
import time

from load import Load
from processes import Cluster, table, until


def options(words):
    words.add_argument("--joins", type=int, default=10, help="one after the other")
    words.add_argument("--rate", type=float, default=20.0, help="contacts a second meanwhile")
    words.add_argument("--seconds", type=float, default=60.0, help="of history before the first")


STEPS = ("token made", "folder fetched", "it answers", "its seat is taken", "ready", "in all")


def joined(cluster, number):
    """One node joins: how long each step took, and how much it holds then."""
    times = [time.monotonic()]
    home = cluster.home(number)
    made = ["cluster", "add-node", "--dir", cluster.folder, "--id", number, "--join-token"]
    made += ["--public", cluster.url(number)[len("http://"):], "--peer", cluster.peer(number)]
    told = cluster.ask(1, *(str(word) for word in made)).stdout.split()
    token = next(word for word in told if word.startswith("rj1_"))
    times.append(time.monotonic())
    # What waits with the cluster is fetched to where a machine of its own would have it.
    home.rename(home.with_name(f"made-{number}"))
    subprocess.run([cluster.binary, "node", "join", token, "--dir", str(home)], check=True,
                   stdout=subprocess.DEVNULL)
    times.append(time.monotonic())
    cluster.start(number)
    until(lambda: cluster.answers(number, "/livez"), f"nd_{number} answers", 0.01)
    times.append(time.monotonic())
    cluster.ask(1, "node", "add", str(number), "--peer", cluster.peer(number), "--public",
                cluster.url(number), "--wait")
    times.append(time.monotonic())
    cluster.ready(number)
    times.append(time.monotonic())
    took = [later - earlier for earlier, later in zip(times, times[1:])]
    return took + [times[-1] - times[1]], size_mib(home / "data")


def size_mib(folder):
    told = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[0])


def let_go(cluster, number):
    cluster.ask(1, "node", "decommission", str(number), "--wait")
    cluster.stop(number)
    until(lambda: cluster.ask(1, "node", "forget", str(number), expect=None).returncode == 0,
          f"nd_{number} is forgotten", 0.2)


def tell(seen):
    rows = [("seconds", "median", "least", "most")]
    for name, took in zip(STEPS, zip(*(took for took, _ in seen))):
        row = (statistics.median(took), min(took), max(took))
        rows.append((name, *(f"{seconds:.2f}" for seconds in row)))
    sizes = [size for _, size in seen]
    print(f"\n{len(seen)} joins, one after the other; each held {min(sizes)} to {max(sizes)} MiB "
          f"then. In all is from the token's use on\n\n{table(rows)}", flush=True)


def play(cluster, joins):
    """One join after the other; what each came to."""
    seen = []
    try:
        for number in range(4, 4 + joins):
            seen.append(joined(cluster, number))
            print(f"bench: nd_{number} serves after {seen[-1][0][-1]:.1f} s", file=sys.stderr)
            let_go(cluster, number)
    except KeyboardInterrupt:
        print("bench: interrupted; this is what there is", file=sys.stderr)
    finally:
        if seen:
            tell(seen)


def run(options, folder):
    cluster, load = Cluster(folder, options.binary, 3, room=options.joins), None
    try:
        cluster.start_all()
        load = Load(cluster, folder / "load", cluster.cores, options.rate, 200)
        time.sleep(options.seconds)
        play(cluster, options.joins)
        print("bench: the load ends, and is judged", file=sys.stderr)
        print(load.finish(), end="")
    finally:
        if load:
            load.end()
        cluster.end()
