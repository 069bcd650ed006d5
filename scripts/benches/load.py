"""`rotary load trace` at a constant rate, and what its ledger says of a part of the run.

The lines of a ledger are in the order in which things were done and seen, so a part of the run is
what lies between two sizes of its file.
"""

import json
import re
import signal
import subprocess

from processes import Failed, until

# A contact's time with an agent takes as long as in the bank that the load comes with.
DAY = "2003-03-03"
INTERVALS = 24 * 12
INTERVAL_S = 300
# Long enough for everybody to sign in, and for all to be read back, on a busy machine.
PATIENCE_S = 900


def constant(path, per_s, speed):
    """A day of arrivals at a constant rate, `per_s` of them in a real second."""
    count = max(1, round(per_s * INTERVAL_S / speed))
    times = (f"{at // 12:02}:{at % 12 * 5:02}:00" for at in range(INTERVALS))
    lines = [f"{DAY}T{time},{count}" for time in times]
    path.write_text("\n".join(["interval_start,calls", *lines]) + "\n")


# How long a client hears nothing before it goes elsewhere: browsers ask every few seconds, and what
# `rotary load` does unless told otherwise would be the most of what thousands of sessions cost.
SILENCE_S = "15"


class Load:
    """People at work, who write down what they were told."""

    def __init__(self, cluster, folder, doors, per_s, agents, speed=60, sites=4, more=()):
        folder.mkdir(parents=True)
        constant(folder / "arrivals.csv", per_s, speed)
        self.ledger, self.told = folder / "ledger" / "ledger.jsonl", folder / "load.txt"
        words = [cluster.binary, "load", "trace", "--arrivals", str(folder / "arrivals.csv")]
        words += ["--speed", str(speed), "--agents", str(agents), "--sites", str(sites), *more]
        words += ["--silence", SILENCE_S]
        words += ["--ledger", str(folder / "ledger"), "--token", cluster.token]
        words += ["--gateway", ",".join(cluster.url(node) for node in doors)]
        with self.told.open("w") as told:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True)
        until(self.at_work, "everybody is at work", 0.1, PATIENCE_S)

    def at_work(self):
        if self.process.poll() is not None:
            raise Failed(f"the load ended: {self.told.read_text()[-2000:]}")
        return "agents signed in" in self.told.read_text()

    def place(self):
        """Where the ledger is."""
        return self.ledger.stat().st_size

    def figures(self):
        """What the load counts: opened, waiting, assigned, done."""
        lines = re.findall(r"opened (\d+) \| waiting (\d+) \| assigned (\d+) \| done (\d+)",
                           self.told.read_text())
        return [int(figure) for figure in lines[-1]] if lines else [0, 0, 0, 0]

    def records(self, begin=0, end=None, words=None):
        """Lines of the ledger between two places; with `words`, those that have one of them."""
        with self.ledger.open("rb") as lines:
            lines.seek(begin)
            place = begin
            for line in lines:
                place += len(line)
                if (end is not None and place > end) or not line.endswith(b"\n"):
                    return
                if words is None or any(word in line for word in words):
                    yield json.loads(line)

    def done(self, begin, end):
        """How many commands were acknowledged there, and how many of them were accepts."""
        accepts, all_done, accepted = set(), 0, 0
        for record in self.records(0, begin, (b'"accept"',)):
            accepts.add(record.get("op"))
        for record in self.records(begin, end, (b'"accept"', b'"ok"')):
            if record["record"] == "invoke":
                accepts.add(record["op"])
            elif record["record"] == "ok":
                all_done += 1
                accepted += record["op"] in accepts
        return all_done, accepted

    def delays_ms(self, begin, end):
        """How long after its entry each event was read."""
        return [record["after_ms"] for record in self.records(begin, end, (b'"after_ms"',))]

    def outages_ms(self, begin, end):
        """For how long each session heard nothing that went on elsewhere."""
        return [record["outage_ms"] for record in self.records(begin, end, (b'"resumed"',))]

    def begun_anew(self):
        """Agents who had to sign in more than once."""
        begun = {}
        for record in self.records(words=(b'"attached"',)):
            if "agent" in record["viewer"]:
                who = (record["site"], json.dumps(record["viewer"]))
                begun[who] = begun.get(who, 0) + 1
        return sum(1 for times in begun.values() if times > 1)

    def signed_out(self):
        """How often the cluster signed an agent out whose session it took for lost."""
        times = set()
        for path in (self.ledger.parent / "feeds").glob("*/*.jsonl"):
            with path.open() as lines:
                times.update((path.name, line) for line in lines
                             if '"agent_declared"' in line and '"session_lost"' in line)
        return len(times)

    def finish(self):
        """Lets everybody finish what they began; the verdict. A broken promise is an error."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(PATIENCE_S)
        told = self.told.read_text()
        verdict = told[told.rindex("verify:"):] if "verify:" in told else told[-2000:]
        if status != 0:
            raise Failed(f"the load ended with {status}:\n{verdict}")
        return verdict

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
