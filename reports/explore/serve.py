"""The server: it answers a browser on this machine, and lives on whatever it is asked."""

from __future__ import annotations

import errno
import ipaddress
import json
import socket
import sys
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ranklsim.pkpd.errors import BadInput, RanklsimError
from ranklsim.reports.explore.course import cohort, course, difference, read_query

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PATIENCE = 30
"""Seconds after which a silent connection is closed."""


class Server(ThreadingHTTPServer):
    """Answers for one page; `draws` is the number of vectors behind a band."""

    daemon_threads = True
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, host: str, port: int, html: str, draws: int) -> None:
        self.html, self.draws, self.host = html, draws, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    @property
    def is_private(self) -> bool:
        """Whether no other machine reaches it."""
        return ipaddress.ip_address(self.socket.getsockname()[0]).is_loopback

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no fault."""
        if not isinstance(sys.exception(), OSError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "ranklsim"
    sys_version = ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        """The page, a course or a cohort."""
        if not self._is_for_us():
            self._send(HTTPStatus.FORBIDDEN, {"faults": ["the address of the request is not that of this page."]})
            return
        try:
            path, query = urlsplit(self.path)[2:4]
        except ValueError:
            path, query = "", ""
        if path == "/":
            self._send(HTTPStatus.OK, self.server.html)
        elif path == "/course":
            self._answer(query, lambda asked: course(asked, self.server.draws))
        elif path == "/difference":
            self._answer(query, lambda asked: difference(asked, self.server.draws))
        elif path == "/cohort":
            self._answer(query, cohort)
        else:
            self._send(HTTPStatus.NOT_FOUND, {"faults": ["there is nothing at this address; the page is at /."]})

    do_HEAD = do_GET

    def _is_for_us(self) -> bool:
        """Whether the browser meant this server: a foreign page that lets its own name point here is refused."""
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            if name in ("localhost", self.server.host):
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return not ipaddress.ip_address(self.connection.getsockname()[0]).is_loopback
        return True

    def _answer(self, query: str, find: Callable[[Any], dict[str, Any]]) -> None:
        try:
            self._send(HTTPStatus.OK, find(read_query(query)))
        except BadInput as fault:
            self._send(HTTPStatus.BAD_REQUEST, {"faults": list(fault.messages)})
        except RanklsimError as fault:
            self._send(HTTPStatus.UNPROCESSABLE_ENTITY, {"faults": [str(fault)]})
        except OSError:  # the browser went away
            self.close_connection = True
        except Exception as fault:  # an internal error must not end the others' work
            traceback.print_exc()
            self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                {"faults": [f"internal error of ranklsim ({type(fault).__name__}); the terminal shows more."]},
            )

    def _send(self, status: HTTPStatus, content: str | dict[str, Any]) -> None:
        page = isinstance(content, str)
        body = (content if isinstance(content, str) else json.dumps(content, allow_nan=False)).encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{'text/html' if page else 'application/json'}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def open_server(host: str, port: int, html: str, draws: int) -> Server:
    """Listen.

    Parameters
    ----------
    host : str
        Name or number of an address of this machine.
    port : int
        From 1, or 0 for any that is free.
    html : str
        The page.
    draws : int
        Vectors of the ensemble behind a band.

    Raises
    ------
    BadInput
        If the port is taken or the address is not of this machine.
    """
    try:
        return Server(host, port, html, draws)
    except (OSError, UnicodeError) as fault:
        code = getattr(fault, "errno", None)
        if code == errno.EADDRINUSE:
            raise BadInput(f"--port: {port} is taken on {host}; give another, or 0 for any that is free.") from None
        if code in (errno.EACCES, errno.EPERM):
            raise BadInput(f"--port: {port} is not open to you; give one from 1024 to 65535.") from None
        raise BadInput(f"--host: '{host}' is no address of this machine; give 127.0.0.1, or leave it out.") from None
