"""Where alerts are told in tests: a real HTTP receiver, whose answers are set, and a real mail server with TLS."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.tools.ports import free_port


@dataclass
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """Answers `answer(request)`: status, body, headers; remembers all requests, and those that it took."""

    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    taken: list[Posted] = field(default_factory=list)
    answer: Callable[[Posted], tuple[int, str, dict[str, str]]] = lambda posted: (200, "ok", {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-part"


@contextlib.contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    receiver = HttpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            posted = Posted(self.path, {key.lower(): value for key, value in self.headers.items()}, body)
            receiver.posted.append(posted)
            status, text, headers = receiver.answer(posted)
            if status == 0:  # breaks off without a word
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if status < 300:
                receiver.taken.append(posted)
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class MailServer:
    """What came, and what it is to say."""

    port: int = 0
    ca_file: Path = Path()
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)  # recipient -> answer
    answer: str = "250 taken"
    in_tls: list[bool] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if not self.answer.startswith("2"):
            return self.answer
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.recipients.append(list(envelope.rcpt_tos))
        self.in_tls.append(session.ssl is not None)
        return self.answer


@contextlib.contextmanager
def mail_server(
    folder: Path, *, security: str = "starttls", password: str = "", name: str = "localhost"
) -> Iterator[MailServer]:
    """A server that demands TLS (and, with a password, a login of `alerts`); `name` is whom its certificate is for."""
    authority = trustme.CA()
    folder.mkdir(exist_ok=True)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server = MailServer(ca_file=ca_file)

    def login(_: object, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"alerts", password.encode())
        return AuthResult(success=good, handled=good)  # not handled: the server says 535 itself

    options: dict[str, Any] = {"hostname": "localhost", "port": free_port()}
    if security == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if password:
        options |= {"authenticator": login, "auth_required": True, "auth_require_tls": True}
    if security == "tls":
        options |= {"ssl_context": context}
    controller = Controller(server, **options)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()
