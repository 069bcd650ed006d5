"""How much memory a live conversation takes on a core node: the slope of what is resident.

Chats are opened over HTTP and stay with their agents, who hold a dozen each; so what grows are
conversations, in every replica, with what the log, the journal and the lookup keep of their
opening. Customers have no sessions. The slope is that of the straight line of least squares. The
load is cut short and not judged: people who take their leave would take longer than all the rest.
"""

import time

from load import Load
from processes import Cluster, Failed, resident_kib, table

HELD = 12
# Somewhat more agents than it takes, since chance gives some sites more than others.
SPARE = 1.3
# Of a site: a customer has a few conversations at a time, and there are 64 of them.
PER_SITE = 320
EVERY_S = 1.0
# What nobody gets to within that is told as an error.
PATIENCE_S = 600


def options(words):
    words.add_argument("--conversations", type=int, default=10_000, help="to go up to")
    words.add_argument("--rate", type=float, default=200.0, help="of them a second")


def slope(points):
    """Of y over x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    rises = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return rises / sum((x - mean_x) ** 2 for x, _ in points)


def watched(cluster, load, most):
    """How many live and what each node holds, from moment to moment."""
    seen, begun = [], time.monotonic()
    while True:
        opened, _, _, done = load.figures()
        held = [resident_kib(cluster.running[node].pid) for node in cluster.cores]
        seen.append((opened - done, held))
        if opened - done >= most:
            return seen
        if time.monotonic() - begun > PATIENCE_S:
            raise Failed(f"only {opened - done} conversations live after {PATIENCE_S} s")
        time.sleep(EVERY_S)


def run(options, folder):
    cluster, load = Cluster(folder, options.binary), None
    try:
        cluster.start_all()
        home = folder / "load"
        times = folder / "times.csv"
        times.write_text("seconds\n7200\n")
        more = ["--mix", "voice=0,chat=1", "--chats", str(HELD), "--web", "0", "--decline", "0"]
        more += ["--lapse", "0", "--patience", "7200", "--handle-times", str(times)]
        agents = round(options.conversations * SPARE / HELD)
        sites = max(4, options.conversations // PER_SITE)
        load = Load(
            cluster, home, cluster.cores, options.rate, agents, speed=1, sites=sites, more=more)
        seen = watched(cluster, load, options.conversations)
        rows = [("node", "before, MiB", "at the end, MiB", "a conversation, KiB")]
        # The first tenth has what is made once.
        steady = [point for point in seen if point[0] >= options.conversations / 10]
        for place, node in enumerate(cluster.cores):
            grows = slope([(live, held[place]) for live, held in steady])
            first, last = seen[0][1][place] / 1024, seen[-1][1][place] / 1024
            rows.append((f"nd_{node}", f"{first:.0f}", f"{last:.0f}", f"{grows:.2f}"))
        print(f"\n{seen[-1][0]} live conversations, {len(steady)} looks\n\n{table(rows)}",
              flush=True)
    finally:
        if load:
            load.end()
        cluster.end()
