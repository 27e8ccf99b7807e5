"""What the dashboard changes, it asks of the collectors' HTTP API: it never writes to the store itself.

Address and token come from the process that started the dashboard; neither reaches the browser.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from dashboards import store
from monitor.errors import BadInput, MonitorError, StoreAway

# Set by `monitor.serve.dashboard` for its child.
API_URL_VARIABLE: Final = "INFERENCE_MONITOR_API_URL"
API_TOKEN_VARIABLE: Final = "INFERENCE_MONITOR_API_TOKEN"
API_CERTIFICATE_VARIABLE: Final = "INFERENCE_MONITOR_API_CERTIFICATE"
ANSWER_S: Final = 20.0


class Refused(BadInput):
    """What the API says is wrong with a request; `key`: which part of it, where it tells."""

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


def read(path: str, *, timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """What the API answers to who only asks; errors as `send` has them."""
    return send(path, None, method="GET", timeout_s=timeout_s)


def send(
    path: str, body: Mapping[str, Any] | None, *, method: str = "POST", timeout_s: float = ANSWER_S
) -> dict[str, Any]:
    """What the API answers.

    Raises
    ------
    Refused
        If it says that the request is wrong.
    StoreAway
        If it does not answer, or nobody said where it is.
    """
    address = os.environ.get(API_URL_VARIABLE, "")
    if not address:
        raise StoreAway("nothing can be changed here: the dashboard was started without the collectors' address")
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get(API_TOKEN_VARIABLE, ""):
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s, context=_trust(address)) as answer:
            said = dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise _said(error) from None
    except (OSError, ValueError) as error:
        raise StoreAway(f"the collectors do not answer: {getattr(error, 'reason', error)}; try again") from None
    store.forget()
    return said


def _said(error: urllib.error.HTTPError) -> MonitorError:
    try:
        answer = json.loads(error.read())
        words, key = str(answer["error"]), str(answer.get("key", ""))
    except (ValueError, KeyError, TypeError):
        words, key = f"the collectors answer {error.code}", ""
    return Refused(words, key) if error.code in (400, 403, 404, 409, 413, 422) else StoreAway(words)


def _trust(address: str) -> ssl.SSLContext | None:
    certificate = os.environ.get(API_CERTIFICATE_VARIABLE, "")
    if not address.startswith("https:") or not certificate:
        return None
    # The very certificate that the service is set to use, whatever name it is for.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context
