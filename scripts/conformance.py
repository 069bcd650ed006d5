#!/usr/bin/env python3
"""Replays the recorded exchanges of docs/api/conformance against a gateway of rotary.v1.

Each file is a play of JSON lines; docs/api/session.md says what a line may be. A file has a tenant
and a site of its own, made with the administrator's token. Python's standard library is enough.

    scripts/conformance.py --url http://127.0.0.1:7080 --token "$TOKEN" docs/api/conformance/*.jsonl
"""

import argparse
import json
import pathlib
import re
import sys
import urllib.error
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from websocket import Closed, WebSocket  # noqa: E402

GAP = re.compile(r"\$\{(\w+)\}")


class Differs(Exception):
    """What came is not what the play says."""


class Play:
    """One file, being played."""

    def __init__(self, options, known):
        self.url, self.patience = options.url.rstrip("/"), options.patience
        self.known, self.sockets = dict(known), {}

    # ---- Values -----------------------------------------------------------------------------

    def filled(self, value):
        """A value with every ${name} in it replaced."""
        if isinstance(value, str):
            whole = GAP.fullmatch(value)
            if whole and whole[1] in self.known:
                return self.known[whole[1]]
            return GAP.sub(lambda gap: str(self.known[gap[1]]), value)
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if isinstance(value, dict):
            return {name: self.filled(one) for name, one in value.items()}
        return value

    def agree(self, wanted, came, found):
        """Whether what came has at least what is wanted; notes what unknown names stand for."""
        if isinstance(wanted, str):
            gap = GAP.fullmatch(wanted)
            if gap and gap[1] == "any":
                return True
            if gap and gap[1] not in self.known:
                return found.setdefault(gap[1], came) == came
            return self.filled(wanted) == came
        if isinstance(wanted, dict):
            return isinstance(came, dict) and all(
                name in came and self.agree(one, came[name], found)
                for name, one in wanted.items()
            )
        if isinstance(wanted, list):
            alike = isinstance(came, list) and len(came) == len(wanted)
            return alike and all(self.agree(a, b, found) for a, b in zip(wanted, came))
        return wanted == came and isinstance(wanted, bool) == isinstance(came, bool)

    # ---- Lines ------------------------------------------------------------------------------

    def play(self, line):
        """Does what one line says."""
        verb = next(iter(set(line) & {name[3:] for name in dir(self) if name[:3] == "do_"}), None)
        if verb is None:
            raise Differs(f"nobody knows how to do {sorted(line)}")
        getattr(self, f"do_{verb}")(line[verb], line)

    def socket(self, line):
        """The socket that a line is about."""
        return self.sockets[line.get("socket", "one")]

    def do_about(self, text, line):
        """Says what the file shows."""

    def do_let(self, values, line):
        """Gives names to values."""
        for name, value in values.items():
            self.known[name] = self.filled(value)

    def do_token(self, wanted, line):
        """Has a token made."""
        body = {"site": "${site}", "ttl_s": 3600, **wanted}
        self.known[line["as"]] = self.ask("POST", "/v1/tokens", body, "${admin}")["token"]

    def do_http(self, request, line):
        """Asks over HTTP for something that must be done."""
        method, path, body = request
        answer = self.ask(method, path, body, line.get("token", "${admin}"))
        if not self.agree(line.get("answer", {}), answer, self.known):
            raise Differs(f"{path} answered {answer}")

    def ask(self, method, path, body, token):
        """One request, and the JSON of its answer."""
        headers = {
            "Authorization": f"Bearer {self.filled(token)}",
            "Content-Type": "application/json",
        }
        data = None if method == "GET" else json.dumps(self.filled(body)).encode()
        target = self.url + self.filled(path)
        request = urllib.request.Request(target, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=self.patience) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Differs(f"{method} {target}: {error.read().decode()}") from None

    def do_connect(self, name, line):
        """Opens a socket; the first frame is a hello, always."""
        url = re.sub("^http", "ws", self.url) + "/v1/session"
        self.sockets[name] = WebSocket(url, "rotary.v1", self.patience)
        hello = {"type": "hello", "protocol": "rotary.v1", "node": "${any}", "build": "${any}"}
        self.do_expect({**hello, "heartbeat_ms": "${any}"}, {"socket": name})

    def do_send(self, frame, line):
        """Sends a frame."""
        self.socket(line).send(json.dumps(self.filled(frame)))

    def do_send_text(self, text, line):
        """Sends what need not be a frame."""
        self.socket(line).send(self.filled(text))

    def do_expect(self, frame, line):
        """The next frame is that one."""
        self.do_expect_all([frame], line)

    def do_expect_all(self, frames, line):
        """The next frames are those, in any order: results and events do not wait for another."""
        missing = list(frames)
        while missing:
            try:
                came = json.loads(self.socket(line).receive())
            except (Closed, OSError) as error:
                raise Differs(f"{error}; still to come: {missing}") from None
            for at, frame in enumerate(missing):
                found = {}
                if self.agree(frame, came, found):
                    self.known.update(found)
                    del missing[at]
                    break
            else:
                raise Differs(f"there came {json.dumps(came)}\n  not {json.dumps(missing)}")

    def do_expect_closed(self, name, line):
        """The other side closes the socket, and says nothing more before."""
        try:
            text = self.sockets[name].receive()
        except Closed:
            return
        raise Differs(f"there came {text} instead of the end")

    def do_drop(self, name, line):
        """The network goes away."""
        self.sockets.pop(name).close()


def play(options, path):
    """Plays a file; gives the number of its lines."""
    known = {"admin": options.token}
    stage = Play(options, known)
    name = path.stem.replace("_", " ")
    tenant = stage.ask("POST", "/v1/tenants", {"name": name}, "${admin}")["tenant"]
    body = {"tenant": tenant, "settings": {"name": name}}
    site = stage.ask("POST", "/v1/sites", body, "${admin}")["site"]
    stage.known.update(tenant=tenant, site=site, dotted=site.removeprefix("st_"))
    count = 0
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if not text.strip():
            continue
        count += 1
        try:
            stage.play(json.loads(text))
        except (Differs, OSError, KeyError, ValueError, Closed) as error:
            raise Differs(f"{path}:{number}: {text}\n  {type(error).__name__}: {error}") from None
    for socket in stage.sockets.values():
        socket.close()
    return count


def main():
    """Plays every file, and says which went as written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="the gateway's address")
    parser.add_argument("--token", required=True, help="an administrator's token, of all tenants")
    parser.add_argument("--patience", type=float, default=30, help="seconds to wait for a frame")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="plays, as JSON lines")
    options = parser.parse_args()
    failed = 0
    for path in options.files:
        try:
            print(f"ok   {path.stem}: {play(options, path)} lines", flush=True)
        except (Differs, OSError, Closed) as error:
            failed += 1
            print(f"FAIL {path.stem}: {error}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
