"""E-mail: text, HTML and a chart in one message, threaded by incident, over verified TLS."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from alerts.html import as_html
from alerts.message import Message, as_text
from alerts.outcome import Delivery, Refused, TryLater
from monitor.settings.receivers import EmailChannel

_SUBJECT_MAX: Final = 180
_IMPORTANCE: Final = {"page": "high", "ticket": "normal", "info": "low"}


def send(channel: EmailChannel, message: Message, delivery: Delivery) -> str:
    """Send it to all recipients; returns who was refused, and why, if others took it.

    Raises
    ------
    Refused
        If the server will never take it: no TLS, wrong password, no recipient that it knows.
    TryLater
        If it is away, or asks to come again (4xx).
    """
    return deliver(
        channel, compose(channel, message, delivery), min(channel.timeout_s, delivery.timeout_s or channel.timeout_s)
    )


def deliver(channel: EmailChannel, mail: EmailMessage, timeout_s: float) -> str:
    """The same with a mail that is written already."""
    handed_over = False
    try:
        server = _connected(channel, timeout_s)
        try:
            if channel.user:
                _log_in(server, channel)
            handed_over = True
            refused = server.send_message(mail, from_addr=channel.from_, to_addrs=channel.to)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()  # whatever it says now, the mail is taken
        finally:
            server.close()
    except smtplib.SMTPRecipientsRefused as error:
        raise _all_refused(error.recipients) from None
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(
            f"{channel.host} offers no {'STARTTLS' if 'STARTTLS' in str(error) else 'login'}; see `security`"
        ) from None
    except smtplib.SMTPResponseException as error:
        words = f"{channel.host} answers {error.smtp_code} {_line(error.smtp_error)}"
        raise (TryLater(words) if 400 <= error.smtp_code < 500 else Refused(words)) from None
    except ssl.SSLCertVerificationError as error:
        raise Refused(f"the certificate of {channel.host} is not trusted: {error.verify_message}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise TryLater(f"{channel.host} does not answer ({type(error).__name__})", doubtful=handed_over) from None
    return "; ".join(f"{address} refused: {code} {_line(text)}" for address, (code, text) in refused.items())


def compose(channel: EmailChannel, message: Message, delivery: Delivery) -> EmailMessage:
    """The mail. Texts of others reach headers as one line alone."""
    domain = channel.from_.rpartition("@")[2]
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = _line(delivery.subject)[:_SUBJECT_MAX]
    mail["From"] = f"Inference Monitor <{channel.from_}>"
    mail["To"] = ", ".join(channel.to)
    mail["Date"] = format_datetime(delivery.at)
    # The same for each attempt: mailboxes keep one of two with the same id.
    mail["Message-ID"] = f"<{delivery.key}@{domain}>"
    # All mails on one incident answer a mail that never was.
    root = f"<{hashlib.sha256(delivery.thread.encode()).hexdigest()[:32]}.incident@{domain}>"
    mail["In-Reply-To"] = root
    mail["References"] = root
    mail["List-Id"] = f"Inference Monitor alerts <alerts.inference-monitor.{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["Importance"] = _IMPORTANCE[message.severity] if message.status == "firing" else "normal"
    mail["X-Inference-Monitor-Status"] = message.status
    mail["X-Inference-Monitor-Severity"] = message.severity
    if delivery.possibly_repeated:
        mail["X-Inference-Monitor-Possibly-Repeated"] = "true"
    mail.set_content(as_text(message, possibly_repeated=delivery.possibly_repeated), cte="quoted-printable")
    cid = f"chart.{delivery.key}@{domain}"
    html = as_html(message, chart=f"cid:{cid}" if message.chart else "", possibly_repeated=delivery.possibly_repeated)
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    if message.chart:
        body = mail.get_payload()[1]  # type: ignore[index]
        assert isinstance(body, EmailMessage), "the second part is the HTML"
        body.add_related(
            base64.b64decode(message.chart), "image", "png", cid=f"<{cid}>", filename="chart.png", disposition="inline"
        )
    return mail


def _connected(channel: EmailChannel, timeout_s: float) -> smtplib.SMTP:
    """Over TLS before anything else is said, unless `plain` is configured."""
    if channel.security == "plain":
        return smtplib.SMTP(channel.host, channel.port_used, timeout=timeout_s)
    context = ssl.create_default_context(cafile=None if channel.ca_file is None else str(channel.ca_file))
    if channel.security == "tls":
        return smtplib.SMTP_SSL(channel.host, channel.port_used, timeout=timeout_s, context=context)
    server = smtplib.SMTP(channel.host, channel.port_used, timeout=timeout_s)
    try:
        server.starttls(context=context)  # raises where it is not offered
    except BaseException:
        server.close()
        raise
    return server


def _log_in(server: smtplib.SMTP, channel: EmailChannel) -> None:
    """By one way alone: a wrong password tried in three ways locks the account, or ends the connection without a word."""
    server.ehlo_or_helo_if_needed()
    if "PLAIN" in server.esmtp_features.get("auth", "").upper().split():
        server.esmtp_features["auth"] = "PLAIN"
    server.login(channel.user, channel.password.get_secret_value())


def _all_refused(recipients: Mapping[str, tuple[int, bytes]]) -> Refused | TryLater:
    words = "; ".join(f"{address} refused: {code} {_line(text)}" for address, (code, text) in recipients.items())
    # Where one may be taken later, trying again is worth it.
    later = any(400 <= code < 500 for code, _ in recipients.values())
    return TryLater(words) if later else Refused(words)


def _line(text: str | bytes) -> str:
    """One line, without control characters."""
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return " ".join("".join(sign if sign.isprintable() else " " for sign in plain).split())[:300]
