"""A DNS server for the tests: www.example.test is 192.0.2.80, all else is NXDOMAIN. Writes what it is asked to a file.

  upstream_dns.py LOG      listens on port 53, UDP and TCP, all addresses
"""
import socket
import struct
import sys
import threading


def name_of(message):
    labels, i = [], 12
    while message[i]:
        labels.append(message[i + 1:i + 1 + message[i]].decode("ascii", "replace"))
        i += 1 + message[i]
    return ".".join(labels).lower() + ".", i + 5


def answer(message, log):
    name, end = name_of(message)
    log.write(name + "\n")
    log.flush()
    kind = struct.unpack("!H", message[end - 4:end - 2])[0]
    known = name == "www.example.test."
    found = known and kind == 1
    head = message[:2] + struct.pack("!HHHHH", 0x8180 | (0 if known else 3), 1, 1 if found else 0, 0, 0)
    body = message[12:end]
    if found:
        body += b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + socket.inet_aton("192.0.2.80")
    return head + body


def serve_tcp(listener, log):
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            try:
                size = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))[0]
                reply = answer(connection.recv(size, socket.MSG_WAITALL), log)
                connection.sendall(struct.pack("!H", len(reply)) + reply)
            except (OSError, struct.error, IndexError):
                pass


def main():
    log = open(sys.argv[1], "w")
    listener = socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve_tcp, args=(listener, log), daemon=True).start()
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", 53))
    while True:
        message, peer = udp.recvfrom(4096)
        try:
            udp.sendto(answer(message, log), peer)
        except IndexError:
            pass


main()
