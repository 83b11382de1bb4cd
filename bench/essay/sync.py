"""The synchronous server: one request at a time, each blocks for as long as its work takes.

sync.py SOCKET"""

import select
import sys
import time

from wire import ANSWER, NOT_FOUND, NOT_YET, UNKNOWN, WORK, WORK_SECONDS, listen, take_request


class Server:
    def __init__(self, path):
        self.listener = listen(path)
        self.poll = select.epoll()
        self.poll.register(self.listener, select.EPOLLIN)
        self.connections = {}  # by descriptor: the socket, and what of a request has come

    def accept_all(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(True)
            self.connections[connection.fileno()] = connection, b""
            self.poll.register(connection, select.EPOLLIN)

    def forget(self, fd):
        self.poll.unregister(fd)
        self.connections.pop(fd)[0].close()

    def serve(self, fd):
        connection, before = self.connections[fd]
        more = connection.recv(65536)
        if not more:
            return self.forget(fd)
        asked, rest = take_request(before + more)
        self.connections[fd] = connection, rest
        if asked == NOT_YET:
            return None
        if asked == WORK:
            time.sleep(WORK_SECONDS)
        return connection.sendall(NOT_FOUND if asked == UNKNOWN else ANSWER)

    def run(self):
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.listener.fileno():
                    self.accept_all()
                    continue
                try:
                    self.serve(fd)
                except ConnectionError:
                    self.forget(fd)


Server(sys.argv[1]).run()
