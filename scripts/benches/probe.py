"""Clients of a site each, who ask for one command after the other and count how long they wait."""

import http.client
import threading
import time

from processes import request, uuid7

EVERY_S = 0.02
AGAIN_S = 0.01


class Probe:
    """Asks one site, of one door after the other, again under the same key until it is done. It is
    a new one, unless it is named."""

    def __init__(self, cluster, doors, attempt_s, tenant=None, number=0, site=None):
        self.cluster, self.doors, self.ended = cluster, doors, threading.Event()
        self.attempt_s, self.shard, self.asked = attempt_s, None, []
        if site is None:
            named = {"tenant": tenant, "settings": {"name": f"probe {number}"}}
            made = cluster.made(doors()[0], "/v1/sites", named)
            site, self.shard = made["site"], made["shard"]
        self.path = f"/v1/sites/{site}/skills/sk_1"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        turn = 0
        while not self.ended.is_set():
            begun, key, turn = time.monotonic(), uuid7(), turn + 1
            attempt = turn
            while not self.attempt(attempt, key, turn) and not self.ended.is_set():
                attempt += 1
                time.sleep(AGAIN_S)
            done = time.monotonic()
            self.asked.append((begun, done))
            time.sleep(max(0.0, EVERY_S - (done - begun)))

    def attempt(self, number, key, turn):
        doors = self.doors()
        door = doors[number % len(doors)]
        try:
            status, _ = request(self.cluster.port(door), "PUT", self.path, self.cluster.token, key,
                                {"name": f"skill {turn}"}, self.attempt_s)
            return status == 200
        except (OSError, http.client.HTTPException):
            return False

    def waited(self, at):
        """From a moment to the end of the longest wait of what was asked around it; None as long as
        nothing that was asked after it is done."""
        asked = self.asked[-500:]
        if not asked or asked[-1][0] <= at:
            return None
        around = [done - at for begun, done in asked if begun <= at + 2 * EVERY_S and done > at]
        return max(around) if around else 0.0

    def end(self):
        self.ended.set()
        self.thread.join()
