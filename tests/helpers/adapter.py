"""A client of debugpy that speaks as VS Code does."""

import json
import socket
import time

SECONDS = 300  # until something hangs


class Adapter:
    """The debug adapter's protocol, as VS Code speaks it: JSON with a Content-Length."""

    def __init__(self, port):
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.stream = self.socket.makefile("rb")
        self.number = 0
        self.events = []

    def send(self, command, **arguments):
        self.number += 1
        message = {"seq": self.number, "type": "request", "command": command}
        body = json.dumps(message | {"arguments": arguments}).encode()
        self.socket.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self.number

    def read(self):
        length = 0
        while line := self.stream.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert length, "the adapter hung up"
        return json.loads(self.stream.read(length))

    def answer(self, number):
        while True:
            message = self.read()
            if message["type"] == "event":
                self.events.append(message)
            if message["type"] == "response" and message["request_seq"] == number:
                assert message["success"], message
                return message.get("body") or {}

    def ask(self, command, **arguments):
        return self.answer(self.send(command, **arguments))

    def wait(self, event):
        while True:
            for message in self.events:
                if message["event"] == event:
                    self.events.remove(message)
                    return message.get("body") or {}
            message = self.read()
            if message["type"] == "event":
                self.events.append(message)

    def stopped(self):
        """-> thread, top frame of the next stop."""
        thread = self.wait("stopped")["threadId"]
        frames = self.ask("stackTrace", threadId=thread, startFrame=0, levels=20)["stackFrames"]
        return thread, frames[0]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
