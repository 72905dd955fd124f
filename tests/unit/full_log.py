"""An audit log that takes as many lines as a test likes: a syslog daemon's socket that nobody reads, with some room in its queue."""

import json
import socket

HEAD = b" kekd - audit - "


class FullLog:
    def __init__(self, path, record):
        self.path, self.record_path, self.room = path, record, 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()

    def bytes(self):
        """Takes all that is there."""
        found = b""
        while True:
            try:
                message = self.socket.recv(65536)
            except BlockingIOError:
                return found
            if HEAD in message:
                found += message.split(HEAD, 1)[1] + b"\n"

    def lines(self):
        return [json.loads(line) for line in self.bytes().splitlines()]

    def fill(self, room):
        """So many lines find room from now on. False: its queue is not so long."""
        self.lines()
        count = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self.path)
            while True:
                try:
                    sender.send(b"x")
                    count += 1
                except BlockingIOError:
                    break
        for _ in range(min(room, count)):
            self.socket.recv(16)
        return room <= count

    def lost(self):
        """Lines of kekctl's that are lost, by the record."""
        with open(self.record_path, encoding="ascii") as file:
            return json.load(file).get("lost", 0)
