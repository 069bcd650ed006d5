"""What scripts that run real clusters share: nodes as processes of a binary, and how they are asked.

Everything is on loopback addresses, and whatever was started is ended by the process that started
it. Python's standard library is enough.
"""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Generous: a busy machine must pass.
LIMIT_S = 180
LOOPBACK = "127.0.0.1"
# Between the ports of two nodes; clients use the first of a node's, peers the one two above it.
PORTS = 10
# Clock ticks a second in /proc/PID/stat: USER_HZ.
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """Something did not go as it must."""


def in_own_network(name):
    """Runs this again in a network of its own, if that is allowed: no port is taken there, and what
    its loopback carries is this run's. Whether it is in one."""
    if os.environ.get("ROTARY_OWN_NETWORK"):
        return True
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return False
    os.environ["ROTARY_OWN_NETWORK"] = "1"
    again = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', name]
    os.execvp("unshare", again + [sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:])


def free_base(nodes):
    """A base port such that the ports of nodes 1 to `nodes` are free."""
    for base in range(24_080, 29_000, 100):
        with contextlib.ExitStack() as stack:
            try:
                for node in range(nodes):
                    port = base + PORTS * node
                    for kind, at in ((socket.SOCK_STREAM, port), (socket.SOCK_DGRAM, port + 2)):
                        taken = stack.enter_context(socket.socket(socket.AF_INET, kind))
                        taken.bind((LOOPBACK, at))
            except OSError:
                continue
            return base
    raise Failed("no block of ports is free")


def until(holds, what, every_s=0.05, limit_s=LIMIT_S):
    """Waits until something holds; what it was then."""
    begun = time.monotonic()
    while not (held := holds()):
        if time.monotonic() - begun > limit_s:
            raise Failed(f"never within {limit_s} s: {what}")
        time.sleep(every_s)
    return held


def request(port, method, path, token=None, key=None, body=None, timeout=3.0):
    """One request over a connection of its own: its status and its body."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if key:
            headers["idempotency-key"] = key
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def uuid7():
    """A key that says when it was made, as the API wants it."""
    number = (int(time.time() * 1000) << 80) | (uuid.uuid4().int & ((1 << 80) - 1))
    number = number & ~(0xF << 76) | (7 << 76)
    return str(uuid.UUID(int=number & ~(3 << 62) | (2 << 62)))


def table(rows):
    """Rows of cells as text: the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def quantile(values, percent):
    """By nearest rank."""
    values = sorted(values)
    return values[max(1, -(-len(values) * percent // 100)) - 1]


class Cluster:
    """Nodes in a folder, 1 to `cores` with data and `gateways` more without, as processes."""

    def __init__(self, folder, binary, cores=3, gateways=0, shards=4, room=0):
        self.folder, self.binary = pathlib.Path(folder) / "cluster", str(binary)
        self.cores = list(range(1, cores + 1))
        self.gateways = list(range(cores + 1, cores + gateways + 1))
        self.running, self.log = {}, (pathlib.Path(folder) / "nodes.log").open("ab")
        alone = os.environ.get("ROTARY_OWN_NETWORK")
        self.base = 7_080 if alone else free_base(cores + gateways + room)
        made = [self.binary, "cluster", "init", "--dir", str(self.folder), "--nodes", str(cores)]
        made += ["--gateways", str(gateways), "--shards", str(shards)]
        made += ["--base-port", str(self.base)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        self.token = (self.folder / "admin.token").read_text().strip()

    def port(self, node):
        return self.base + PORTS * (node - 1)

    def url(self, node):
        return f"http://{LOOPBACK}:{self.port(node)}"

    def peer(self, node):
        return f"{LOOPBACK}:{self.port(node) + 2}"

    def home(self, node):
        return self.folder / f"node-{node}"

    def command(self, binary, node):
        return [str(binary), "server", "--config", str(self.home(node) / "rotary.toml")]

    def start(self, node, binary=None):
        """Starts a node. It ends with this process, however that ends; an interrupt from the
        terminal is not for it."""
        command = [*self.command(binary or self.binary, node), "--exit-with-stdin"]
        self.running[node] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log,
            start_new_session=True)

    def start_all(self):
        for node in self.cores + self.gateways:
            self.start(node)
        for node in self.cores + self.gateways:
            self.ready(node)

    def answers(self, node, path):
        """Whether a node says 200 there; one that has ended is an error."""
        try:
            return request(self.port(node), "GET", path)[0] == 200
        except (OSError, http.client.HTTPException):
            if self.running[node].poll() is not None:
                raise Failed(f"node {node} ended with {self.running[node].returncode}") from None
            return False

    def ready(self, node):
        until(lambda: self.answers(node, "/readyz"), f"node {node} is ready", 0.02)

    def stop(self, node):
        """As a supervisor stops it; it must end well."""
        process = self.running.pop(node)
        process.send_signal(signal.SIGTERM)
        if process.wait(LIMIT_S) != 0:
            raise Failed(f"node {node} ended with {process.returncode}")

    def kill(self, node):
        """SIGKILL; the moment at which it was over."""
        process = self.running.pop(node)
        process.kill()
        ended = time.monotonic()
        process.wait()
        return ended

    def words(self, node, words, binary=None):
        """A command line that asks a node."""
        asked = [str(binary or self.binary), *(str(word) for word in words)]
        return [*asked, "--url", self.url(node), "--token", self.token]

    def ask(self, node, *words, expect=0, binary=None):
        """What a command of `rotary` came to; another exit code than `expect` is an error."""
        asked = self.words(node, words, binary)
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if expect is not None and answer.returncode != expect:
            said = f"{' '.join(asked[1:-4])} ended with {answer.returncode}"
            raise Failed(f"{said}: {answer.stderr.strip()}")
        return answer

    def read(self, node, path):
        """A JSON answer, or nothing where there is none."""
        try:
            status, body = request(self.port(node), "GET", path, self.token)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body) if status == 200 else None

    def made(self, node, path, body):
        """What was made there."""
        status, answer = request(
            self.port(node), "POST", path, self.token, uuid7(), body, LIMIT_S)
        if status != 201:
            raise Failed(f"{path} answers {status}: {answer.decode()}")
        return json.loads(answer)

    def cpu_s(self, nodes):
        """Seconds of the processor that nodes have used, user's and system's."""
        return sum(cpu_s(self.running[node].pid) for node in nodes)

    def end(self):
        for process in self.running.values():
            process.kill()
            process.wait()
        self.log.close()


def cpu_s(pid):
    """The fields 14 and 15 of /proc/PID/stat, counted behind the name, which may hold anything."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kib(pid):
    """Memory in use."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Failed(f"process {pid} has no memory")


def written_bytes(pid):
    """Bytes that a process has had written to disks."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise Failed(f"process {pid} does not say what it wrote")


def loopback_bytes():
    """Bytes that the loopback of this network has carried."""
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    raise Failed("there is no loopback")
