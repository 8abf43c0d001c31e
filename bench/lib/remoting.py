"""The least of the remoting protocol: one message, to see when a server has started."""

from __future__ import annotations

import json
import socket
import struct
import time

SEND_MESSAGE = 10
SUCCESS = 0


def send_one(host: str, port: int, topic: str, timeout: float) -> bool:
    """Sends a small message and waits for the answer; false when there is nobody, or a refusal."""
    header = {
        "code": SEND_MESSAGE, "language": "OTHER", "version": 0, "opaque": 1, "flag": 0,
        "extFields": {
            "producerGroup": "compare", "topic": topic, "defaultTopic": "TBW102", "defaultTopicQueueNums": "4",
            "queueId": "0", "sysFlag": "0", "bornTimestamp": str(int(time.time() * 1000)), "flag": "0",
            "properties": "", "reconsumeTimes": "0", "unitMode": "false", "batch": "false",
        },
    }
    encoded, body = json.dumps(header).encode(), b"started?"
    frame = struct.pack(">II", 4 + len(encoded) + len(body), len(encoded)) + encoded + body
    try:
        with socket.create_connection((host, port), timeout=timeout) as connection:
            connection.sendall(frame)
            length, head = struct.unpack(">II", receive(connection, 8))
            answer = json.loads(receive(connection, length - 4)[: head & 0xFFFFFF])
            return answer.get("code") == SUCCESS
    except (OSError, ValueError, struct.error):
        return False


def receive(connection: socket.socket, length: int) -> bytes:
    """Exactly so many bytes."""
    received = bytearray()
    while len(received) < length:
        part = connection.recv(length - len(received))
        if not part:
            raise OSError("closed")
        received += part
    return bytes(received)
