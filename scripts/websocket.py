#!/usr/bin/env python3
"""A WebSocket (RFC 6455) on the command line, with Python's standard library alone.

Connects to an address, sends every line of standard input as a text, and prints every text that
comes as a line. Ends when the other side closes; says why on standard error.

    scripts/websocket.py ws://127.0.0.1:7080/v1/session --protocol rotary.v1 --ping 5
"""

import argparse
import base64
import json
import os
import socket
import ssl
import sys
import threading
import time
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
# More than a node ever sends in one message.
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
HEAD_BYTES_MAX = 64 * 1024


class Closed(Exception):
    """The other side is gone."""


class WebSocket:
    """A client's side of a connection."""

    def __init__(self, url, protocol, timeout=30):
        parts = urlsplit(url)
        secure = parts.scheme in ("wss", "https")
        port = parts.port or (443 if secure else 80)
        self.bytes = b""
        self.writing = threading.Lock()
        self.socket = socket.create_connection((parts.hostname, port), timeout)
        if secure:
            context = ssl.create_default_context(cafile=os.environ.get("ROTARY_CA"))
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        head = self._until(b"\r\n\r\n").decode("latin-1")
        if not head.startswith("HTTP/1.1 101"):
            raise Closed(f"no WebSocket there: {head.splitlines()[0]}")

    def _more(self):
        more = self.socket.recv(65536)
        if not more:
            raise Closed("the connection ended")
        self.bytes += more

    def _until(self, end):
        while end not in self.bytes:
            if len(self.bytes) > HEAD_BYTES_MAX:
                raise Closed("an answer without an end")
            self._more()
        head, self.bytes = self.bytes.split(end, 1)
        return head

    def _take(self, count):
        if count > MESSAGE_BYTES_MAX:
            raise Closed(f"a message of {count} bytes")
        while len(self.bytes) < count:
            self._more()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def _send(self, kind, payload):
        mask = os.urandom(4)
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | kind, 0x80 | size])
        elif size < 65536:
            head = bytes([0x80 | kind, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | kind, 0x80 | 127]) + size.to_bytes(8, "big")
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
        with self.writing:
            self.socket.sendall(head + mask + masked)

    def send(self, text):
        """Sends one text."""
        self._send(TEXT, text.encode())

    def receive(self):
        """The next text. Raises Closed, and TimeoutError after the timeout."""
        whole = b""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size > 125:
                size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
            payload = self._take(size)
            kind = first & 0x0F
            if kind == CLOSE:
                why = payload[2:].decode(errors="replace")
                raise Closed(f"closed {int.from_bytes(payload[:2], 'big') or ''} {why}".strip())
            if kind == PING:
                self._send(PONG, payload)
            elif kind != PONG:
                whole += payload
                if len(whole) > MESSAGE_BYTES_MAX:
                    raise Closed("a message without an end")
                if first & 0x80:
                    return whole.decode()

    def close(self):
        """Drops the connection, as a lost network would."""
        self.socket.close()


def keep_alive(connection, seconds):
    """Sends the session protocol's own ping every so often."""
    count = 0
    while True:
        time.sleep(seconds)
        count += 1
        connection.send(json.dumps({"type": "ping", "t": count}))


def forward(connection):
    """Sends what is typed."""
    for line in sys.stdin:
        if line.strip():
            connection.send(line.strip())


def main():
    """Runs until the other side closes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="ws:// or wss:// and the rest of the address")
    parser.add_argument("--protocol", default="rotary.v1", help="the sub-protocol to offer")
    parser.add_argument("--ping", type=float, default=0, help="ping every so many seconds")
    options = parser.parse_args()
    try:
        connection = WebSocket(options.url, options.protocol)
        connection.socket.settimeout(None)
        threading.Thread(target=forward, args=[connection], daemon=True).start()
        if options.ping:
            pings = threading.Thread(
                target=keep_alive, args=[connection, options.ping], daemon=True
            )
            pings.start()
        while True:
            print(connection.receive(), flush=True)
    except (Closed, OSError) as error:
        print(f"websocket: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
