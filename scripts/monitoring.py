#!/usr/bin/env python3
"""Checks alert rules and dashboards against docs/metrics.md, or against a cluster that runs.

    scripts/monitoring.py                  # what they name is documented, whole and tested
    scripts/monitoring.py --live BINARY    # a real Prometheus takes every query, and alerts fire

scripts/check-alerts runs it. Needs Python's yaml; `--live` needs Debian's `prometheus`.
"""

import argparse
import contextlib
import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config" / "prometheus"
SELECTOR = re.compile(r"\b((?:rotary|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
# What Prometheus itself adds to every series, and the bucket of a histogram.
ADDED = {"cluster", "instance", "job", "le"}
# What a cluster measures that starts, takes traffic for seconds and has no trouble. The rest comes
# with trouble, with time, or with files, bots, webhooks and mails.
RARE = {
    "rotary_admission_refused_total", "rotary_actor_failures_total", "rotary_bot_turns_total",
    "rotary_backup_failures_total",
    "rotary_blob_uploads_total", "rotary_blobs_damaged_total", "rotary_blobs_fetched_total",
    "rotary_clock_ahead_seconds",
    "rotary_blobs_full_total", "rotary_blobs_removed_total", "rotary_commands_deduplicated_total",
    "rotary_feed_gaps_total", "rotary_journal_dropped_bytes_total", "rotary_mail_attempts_total",
    "rotary_mailbox_refusals_total", "rotary_raft_leaders_moved_total", "rotary_relay_moves_total",
    "rotary_retention_failures_total", "rotary_session_strays_total", "rotary_spans_total",
    "rotary_webhook_attempts_total",
}
# What a machine makes fire that is busy with something else as well.
BUSY = {"RotaryCommitsSlow", "RotaryCommitsSlowForHours", "RotaryWorkRefused"}


def fail(why):
    sys.exit(f"monitoring: {why}")


# ---- What there is to check -------------------------------------------------------------------


def documented():
    """The labels of each metric in docs/metrics.md, a histogram's under its three names."""
    found = {}
    for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        name, kind, _, labels = [cell.strip().replace("`", "") for cell in line.split("|")[1:5]]
        ends = ["_bucket", "_sum", "_count"] if kind == "histogram" else [""]
        found.update({name + end: set(labels.split()) for end in ends})
    return found


def rules():
    groups = yaml.safe_load((CONFIG / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards():
    for path in sorted((ROOT / "config" / "grafana").glob("*.json")):
        yield path.name, json.loads(path.read_text())


def queries():
    """Every query of a dashboard, with the panel that asks it."""
    for name, dashboard in dashboards():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]


# ---- Without a cluster ------------------------------------------------------------------------


def check_names(place, query, known):
    """A query names documented metrics, and only labels that they have."""
    for name, matchers in SELECTOR.findall(re.sub(r"\b\w+:rotary_\w+:\w+", "", query)):
        if name not in known:
            fail(f"{place}: {name} is not in docs/metrics.md")
        for label in MATCHER.findall(re.sub(r'"[^"]*"', '""', matchers)):
            if label not in known[name] | ADDED:
                fail(f"{place}: {name} has no label {label}")


def check_alert(rule):
    """An alert says how urgent it is, what it is about, and where to read on."""
    name, notes = rule["alert"], rule.get("annotations", {})
    if rule.get("labels", {}).get("severity") not in ("critical", "warning"):
        fail(f"{name}: severity is critical or warning")
    for key in ("summary", "description", "runbook"):
        if not notes.get(key):
            fail(f"{name} has no {key}")
    page = notes["runbook"]
    if not page.startswith("docs/runbook/") or not (ROOT / page).is_file():
        fail(f"{name}: {page} is no page of docs/runbook")


def check_tests(alerts):
    """Every alert has a test in which it fires and one in which it stays quiet."""
    tests = yaml.safe_load((CONFIG / "alerts_test.yml").read_text())["tests"]
    fires, quiet = set(), set()
    for case in (case for test in tests for case in test.get("promql_expr_test", [])):
        for sample in case["exp_samples"]:
            fires.update(re.findall(r'alertname="(\w+)"', sample["labels"]))
        if not case["exp_samples"]:
            quiet.update(re.findall(r'alertname="(\w+)"', case["expr"]))
    for kind, tested in (("fires", fires), ("stays quiet", quiet)):
        if missing := alerts - tested:
            fail(f"no test in which it {kind}: {', '.join(sorted(missing))}")
        if unknown := tested - alerts:
            fail(f"a test names what is no alert: {', '.join(sorted(unknown))}")


def overlap(one, other):
    """Whether two panels are in each other's place."""
    apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
    return not apart and one["y"] < other["y"] + other["h"] and other["y"] < one["y"] + one["h"]


def check_dashboard(name, dashboard):
    """Ids are unique, panels say what they show, and nothing covers anything."""
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    if len(set(ids)) != len(ids):
        fail(f"{name}: two panels have one id")
    kinds = [each["type"] for each in dashboard["templating"]["list"]]
    if kinds[0] != "datasource":
        fail(f"{name} has no choice of a data source")
    for at, panel in enumerate(panels):
        place = f"{name}: {panel['title']}"
        if panel["type"] != "row" and not (panel["description"] and panel["targets"]):
            fail(f"{place}: a description and a query are missing")
        if panel["type"] != "row" and "unit" not in panel["fieldConfig"]["defaults"]:
            fail(f"{place}: a unit is missing")
        for other in panels[:at]:
            if overlap(panel["gridPos"], other["gridPos"]):
                fail(f"{place} covers {other['title']}")


def check_files():
    known, recorded = documented(), set()
    alerts = [rule for rule in rules() if "alert" in rule]
    for rule in rules():
        check_names(rule.get("alert") or rule["record"], rule["expr"], known)
        recorded.add(rule.get("record"))
        for name in re.findall(r"\b\w+:rotary_\w+:\w+", rule["expr"]):
            if name not in recorded:
                fail(f"{name} is recorded by no rule before it")
    for rule in alerts:
        check_alert(rule)
    names = [rule["alert"] for rule in alerts]
    if len(set(names)) != len(names):
        fail("two alerts have one name")
    check_tests(set(names))
    uids = [dashboard["uid"] for _, dashboard in dashboards()]
    if len(set(uids)) != len(uids):
        fail("two dashboards have one uid")
    for name, dashboard in dashboards():
        check_dashboard(name, dashboard)
    asked = list(queries())
    for place, query in asked:
        check_names(place, query, known)
    shown = {name for _, query in asked for name, _ in SELECTOR.findall(query)}
    stems = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    if unseen := {name for name in known if re.sub("_(bucket|sum|count)$", "", name) not in stems}:
        fail(f"no dashboard shows {', '.join(sorted(unseen))}")
    print(f"{len(names)} alerts, {len(uids)} dashboards with {len(asked)} queries: well-formed")


# ---- With a cluster ---------------------------------------------------------------------------


def free_ports(count):
    """The first of as many ports in a row that nobody listens on, TCP or UDP."""
    for base in range(21_000, 31_000, 100):
        with contextlib.ExitStack() as taken, contextlib.suppress(OSError):
            for port in range(base, base + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    bound = taken.enter_context(socket.socket(socket.AF_INET, kind))
                    bound.bind(("127.0.0.1", port))
            return base
    fail("no free ports")


def until(what, seconds, found):
    """Waits until something is so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return value
        time.sleep(0.2)
    fail(f"not within {seconds} s: {what}")


class Cluster:
    """Three core nodes, a gateway, and a Prometheus that scrapes them; ended with the block."""

    def __init__(self, binary, folder):
        self.binary, self.folder, self.base = binary, folder, free_ports(50)
        self.running = {}
        init = [binary, "cluster", "init", "--dir", str(folder / "cluster"), "--nodes", "3"]
        init += ["--gateways", "1", "--shards", "2", "--base-port", str(self.base), "-o", "json"]
        made = json.loads(subprocess.run(init, check=True, capture_output=True).stdout)
        self.token, places = made["token"], made["nodes"] + made["gateways"]
        self.urls = [place["url"] for place in places]
        self.prometheus = f"http://127.0.0.1:{self.base + 49}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.stdin.close()
        if prometheus := self.running.get("prometheus"):
            prometheus.terminate()
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name, command):
        # A node ends with its standard input, so none outlives this script.
        with open(self.folder / f"{name}.log", "wb") as log:
            self.running[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self.folder)

    def start_nodes(self):
        for node in range(1, 5):
            config = str(self.folder / "cluster" / f"node-{node}" / "rotary.toml")
            backups = [f"backup.to={self.folder / 'backups'}", "backup.every=2min"]
            serve = [self.binary, "server", "--config", config, "--exit-with-stdin"]
            serve += [word for value in backups for word in ("--set", value)]
            self.start(f"node-{node}", serve)
        for url in self.urls:
            until(f"{url} is ready", 20, lambda: urllib.request.urlopen(f"{url}/readyz", timeout=2))

    def start_prometheus(self):
        """The example, with these targets, and all that waits for a minute waiting for a second."""
        config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        places = [url.removeprefix("http://") for url in self.urls]
        for job, targets in zip(config["scrape_configs"], (places[:3], places[3:])):
            job["static_configs"][0]["targets"] = targets
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        alerts = (CONFIG / "alerts.yml").read_text()
        alerts = re.sub(r"for: [1-9]\w*", "for: 3s", alerts)
        (self.folder / "alerts.yml").write_text(alerts)
        self.start("prometheus", [
            "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
            f"--web.listen-address={self.prometheus.removeprefix('http://')}",
        ])
        until("Prometheus scrapes four nodes", 20, lambda: len(self.ask("up == 1")) == 4)

    def ask(self, query):
        """What Prometheus answers to a query; fails if it does not take it."""
        form = urllib.parse.urlencode({"query": query}).encode()
        try:
            answer = urllib.request.urlopen(f"{self.prometheus}/api/v1/query", form, timeout=5)
        except urllib.error.HTTPError as error:
            fail(f"{query}: {error.read().decode()}")
        return json.load(answer)["data"]["result"]

    def alerts(self, state="firing"):
        found = self.ask(f'ALERTS{{alertstate=~"{state}"}}')
        told = {(each["metric"]["alertname"], each["metric"].get("instance")) for each in found}
        return {(name, instance) for name, instance in told if name not in BUSY}

    def take_traffic(self):
        """Minutes of a morning in seconds, through the gateway."""
        load = [self.binary, "load", "trace", "--gateway", self.urls[3]]
        load += ["--token", self.token, "--from", "10:00", "--to", "10:12", "--share", "0.05"]
        load += ["--agents", "24", "--sites", "2", "--speed", "240"]
        load += ["--ledger", str(self.folder / "ledger")]
        ran = subprocess.run(load, capture_output=True, timeout=60, text=True)
        if ran.returncode != 0:
            fail(f"the load was not kept:\n{ran.stdout}{ran.stderr}")

    def move_a_site(self):
        """One of the sites that took traffic goes to another shard."""
        asked = urllib.request.Request(f"{self.urls[0]}/v1/sites",
                                       headers={"Authorization": f"Bearer {self.token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            first = json.load(answer)["data"][0]
        shard = "sh_1" if first["shard"] != "sh_1" else "sh_2"
        move = [self.binary, "site", "move", first["site"], "--to", shard, "--wait"]
        move += ["--url", self.urls[0], "--token", self.token]
        ran = subprocess.run(move, capture_output=True, timeout=60, text=True)
        if ran.returncode != 0:
            fail(f"{first['site']} did not move:\n{ran.stdout}{ran.stderr}")
        rate = "rate(rotary_site_moves_total[1m])"
        until("two scrapes have seen the move", 20, lambda: self.ask(rate))


def filled(query):
    """A query of a dashboard as Grafana asks it, with every variable on All."""
    query = query.replace("$__rate_interval", "1m")
    return re.sub(r"\$(cluster|shard|site)", ".*", query)


def check_queries(cluster):
    """Prometheus takes every query, and answers where the series are that it names."""
    until("a backup is complete", 60, lambda: cluster.ask("rotary_backup_seconds"))
    for name in sorted(documented().keys() - RARE):
        if not cluster.ask(name):
            fail(f"{name} has no series in a cluster with traffic")
    empty = 0
    for place, query in queries():
        query = filled(query)
        named = [f"{name}{{{where}}}" for name, where in SELECTOR.findall(query)]
        # What compares with an older value has none in a cluster this young.
        whole = all(cluster.ask(each) for each in named) and "offset" not in query
        answered = cluster.ask(query)
        if whole and not answered:
            fail(f"{place} shows nothing: {query}")
        empty += not answered
    for rule in rules():
        cluster.ask(rule["expr"])
    print(f"live: {len(list(queries()))} queries taken, {empty} with nothing to show yet")


def check_alerts_fire(cluster):
    """Nothing fires while all is well; a dead node does, and a lost majority."""
    if noise := cluster.alerts("firing|pending"):
        fail(f"alerts in a cluster that is well: {sorted(map(str, noise))}")
    dead = cluster.urls[1].removeprefix("http://")
    cluster.running["node-2"].kill()
    wanted = {("RotaryNodeDown", dead), ("RotaryNoNodeToSpare", None)}
    until(f"{wanted} fire", 20, lambda: wanted <= cluster.alerts())
    if others := cluster.alerts() - wanted:
        fail(f"one dead node makes others fire: {sorted(map(str, others))}")
    cluster.running["node-3"].kill()
    lost = ("RotaryShardWithoutLeader", None)
    until(f"{lost[0]} fires", 20, lambda: lost in cluster.alerts())
    print("live: quiet while all is well; fired for a dead node and for a lost majority")


def check_live(binary):
    with tempfile.TemporaryDirectory(prefix="rotary-monitoring-") as folder:
        with Cluster(binary, pathlib.Path(folder)) as cluster:
            cluster.start_nodes()
            cluster.start_prometheus()
            cluster.take_traffic()
            cluster.move_a_site()
            check_queries(cluster)
            check_alerts_fire(cluster)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live", metavar="BINARY", help="the rotary to run three nodes of")
    options = parser.parse_args()
    if options.live:
        check_live(str(pathlib.Path(options.live).resolve()))
    else:
        check_files()


if __name__ == "__main__":
    main()
