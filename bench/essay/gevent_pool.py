"""The gevent server: a greenlet reads each connection, a pool of worker greenlets does the work and answers.

gevent_pool.py SOCKET WORKERS"""

import sys

import gevent
from gevent.queue import UnboundQueue
from gevent.server import StreamServer

from wire import ANSWER, NOT_FOUND, NOT_YET, UNKNOWN, WORK, WORK_SECONDS, listen, take_request

waiting = UnboundQueue()  # connections whose request is to be worked on


def work():
    while True:
        connection = waiting.get()
        gevent.sleep(WORK_SECONDS)
        try:
            connection.sendall(ANSWER)
        except OSError:
            pass  # the client left; its reader sees that too


def read(connection, _address):
    rest = b""
    while more := connection.recv(65536):
        asked, rest = take_request(rest + more)
        if asked == WORK:
            waiting.put(connection)
        elif asked != NOT_YET:
            connection.sendall(NOT_FOUND if asked == UNKNOWN else ANSWER)


for _ in range(int(sys.argv[2])):
    gevent.spawn(work)
server = StreamServer(listen(sys.argv[1]), read)
server.max_accept = 1024
server.serve_forever()
