"""What the essay's servers share: the work, a socket, and as much HTTP/1.1 as the load generator speaks.

Connections are kept, a client sends one request and waits for its answer, so there is no pipelining to think of. The
answer is a constant: nothing is spent on it that is not needed to be answered at all."""

import os
import socket

WORK_SECONDS = 0.1

BODY = b'{"model":"work","response":"x","done":true,"done_reason":"stop","eval_count":1}\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"

NOT_YET, WORK, NOTHING, UNKNOWN = range(4)


def take_request(data):
    """What the request at the beginning of `data` asks, and the bytes after it; NOT_YET when it is not whole.

    A request for no text (`"prompt":""`) is how a client loads a model: nothing is to be done for it."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return NOT_YET, data
    at = data.find(b"Content-Length: ", 0, head)
    end = head + 4 + (int(data[at + 16 : data.find(b"\r", at)]) if at >= 0 else 0)
    if len(data) < end:
        return NOT_YET, data
    if not data.startswith(b"POST /api/generate "):
        return UNKNOWN, data[end:]
    return (NOTHING if data.find(b'"prompt":""', head, end) >= 0 else WORK), data[end:]


def listen(path):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4096)
    listener.setblocking(False)
    return listener
