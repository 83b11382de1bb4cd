"""The asyncio server: as many requests at once as there are clients, each a task.

Bytes go through a Protocol, not through streams, as in the fast asyncio servers; the work is a coroutine, as an
application's would be.

async_io.py SOCKET"""

import asyncio
import sys

from wire import ANSWER, NOT_FOUND, NOT_YET, UNKNOWN, WORK, WORK_SECONDS, listen, take_request


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.rest = b""
        self.task = None  # the loop itself holds tasks weakly

    def data_received(self, data):
        asked, self.rest = take_request(self.rest + data)
        if asked == WORK:
            self.task = asyncio.get_running_loop().create_task(self.work())
        elif asked != NOT_YET:
            self.transport.write(NOT_FOUND if asked == UNKNOWN else ANSWER)

    async def work(self):
        await asyncio.sleep(WORK_SECONDS)
        self.transport.write(ANSWER)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(Connection, sock=listen(sys.argv[1]), backlog=4096)
    await server.serve_forever()


asyncio.run(main())
