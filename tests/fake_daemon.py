"""A scripted stand-in for the daemon: answers the HTTP API on a Unix socket as a test tells it, and remembers what
was asked. Each answer is a function that gets the handler and the parsed request, so it can also answer wrongly."""
import http.server
import json
import os
import socket
import socketserver
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "unix"

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = json.loads(body) if body else None
        daemon = self.server.daemon
        daemon.headers.append(self.headers)
        daemon.requests.append((self.command, self.path, request))
        answer = daemon.answers.get(self.path)
        try:
            if answer is None:
                self.send_document({"error": f"no such path: {self.path}"}, 404)
            else:
                answer(self, request)
        except (BrokenPipeError, ConnectionResetError):
            daemon.hangups.set()
            self.close_connection = True

    do_GET = do_POST = do_DELETE = handle_any

    def send_document(self, document, status=200, **headers):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send_piece(self, document):
        data = json.dumps(document).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    def wait_for_hangup(self):
        """Blocks until the client closes its side."""
        self.connection.settimeout(20)
        if self.connection.recv(1) == b"":
            self.server.daemon.hangups.set()
        self.close_connection = True


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that hangs up is nothing to report; a mistake in a test's answer is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class TcpServer(Server):
    address_family = socket.AF_INET
    allow_reuse_address = True


class FakeDaemon:
    """Listens at the path of a Unix socket, or at a (host, port) where port may be 0."""

    def __init__(self, address):
        self.requests = []
        self.headers = []
        self.hangups = threading.Event()
        self.answers = {}
        self.server = (TcpServer if isinstance(address, tuple) else Server)(address, Handler)
        self.address = self.server.socket.getsockname()
        self.server.daemon = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        if isinstance(self.address, str):
            os.unlink(self.address)


def document(value, status=200, **headers):
    """An answer that is one JSON document."""
    return lambda handler, request: handler.send_document(value, status, **headers)


DONE = {"done": True, "done_reason": "stop", "prompt_eval_count": 12, "prompt_cached_count": 4, "eval_count": 2,
        "total_duration": 3000000000, "load_duration": 500000000, "prompt_eval_duration": 1000000000,
        "eval_duration": 500000000}


def text(*pieces):
    """An answer of a model: streamed, or whole, as the request asks."""
    def piece(request, content):
        if "messages" in request:
            return {"model": request["model"], "message": {"role": "assistant", "content": content}, "done": False}
        return {"model": request["model"], "response": content, "done": False}

    def answer(handler, request):
        if request.get("stream", True):
            handler.begin_stream()
            for content in pieces:
                handler.send_piece(piece(request, content))
            handler.send_piece({**piece(request, ""), **DONE})
            handler.end_stream()
        else:
            handler.send_document({**piece(request, "".join(pieces)), **DONE})
    return answer


def text_then_silence(*pieces):
    """Pieces of an answer, and then nothing until the client leaves."""
    def answer(handler, request):
        handler.begin_stream()
        for content in pieces:
            handler.send_piece({"message": {"content": content}, "response": content, "done": False})
        handler.wait_for_hangup()
    return answer
