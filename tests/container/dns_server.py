"""Answers questions for IPv4 addresses of the names it knows, and notes all questions."""

import socket
import struct
import threading

A = 1
NO_SUCH_NAME = 3


class DnsServer:
    def __init__(self, addresses, listen="127.0.0.53"):
        self.addresses, self.listen = addresses, listen
        self.asked = []

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.listen, 53))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def __exit__(self, *_):
        # Nothing to read is the sign to stop.
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def serve(self):
        while (received := self.socket.recvfrom(512))[0]:
            question, client = received
            self.socket.sendto(self.answer(question), client)

    def answer(self, message):
        identifier = message[:2]
        name, end = read_name(message, 12)
        (kind,) = struct.unpack_from("!H", message, end)
        self.asked.append(name)
        question = message[12 : end + 4]
        address = self.addresses.get(name)
        records = b""
        if address and kind == A:
            # 0xc00c points back at the name in the question; a life of 5 seconds.
            records = struct.pack("!HHHIH", 0xC00C, A, 1, 5, 4) + socket.inet_aton(address)
        flags = 0x8180 | (0 if address else NO_SUCH_NAME)
        return identifier + struct.pack("!HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records


def read_name(message, offset):
    labels = []
    while length := message[offset]:
        labels.append(message[offset + 1 : offset + 1 + length].decode().lower())
        offset += 1 + length
    return ".".join(labels), offset + 1
