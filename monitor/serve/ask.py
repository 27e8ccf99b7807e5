"""Do something with the store from a shell: through the service that has the embedded one, or here."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from monitor.errors import BadInput, MonitorError, StoreAway, StoreError
from monitor.serve.trust import trust
from monitor.settings import Settings
from monitor.store.client import Client, connect, explained, server_address
from monitor.store.migrate import pending
from monitor.store.owner import Claim, Owner, find_owner
from monitor.store.reader import refuse_missing

_ANSWER_S: Final = 30.0

Do = Callable[[Client, Mapping[str, Any], datetime], Any]


def ask(
    settings: Settings, method: str, path: str, values: Mapping[str, Any], here: Do, *, answer_s: float = _ANSWER_S
) -> Any:
    """What `method path` of the API answers, or `here` with the same values where no service has the store.

    Parameters
    ----------
    method, path : str
        `GET`, `POST` or `DELETE`, and a path such as `/api/silences`.
    values : mapping
        Body of a POST; else query parameters. A `DELETE` has them in its path.
    here : callable
        Takes a client, the values and the time.
    answer_s : float
        How long the service may take.

    Raises
    ------
    BadInput
        If the values are refused, or there is no store.
    StoreAway
        If the service does not answer.
    """
    refuse_missing(settings)
    if not settings.embedded:
        return _here(settings, values, here)
    owner = find_owner(settings.data)
    if owner is not None:
        return _through(owner, settings, method, path, values, answer_s)
    claim = Claim(settings.data)
    try:
        return _here(settings, values, here)
    finally:
        claim.release()


def _here(settings: Settings, values: Mapping[str, Any], here: Do) -> Any:
    client = connect(settings.store_url)
    try:
        with explained(server_address(settings.store_url)):
            if pending(client):
                raise StoreError("the store's schema is behind this release; run `monitor migrate`")
            return here(client, values, datetime.now(UTC))
    finally:
        client.close()


def _through(
    owner: Owner, settings: Settings, method: str, path: str, values: Mapping[str, Any], answer_s: float
) -> Any:
    if "http" not in owner.addresses:
        raise StoreAway(f"process {owner.pid} has the data folder {settings.data} and serves no API; stop it first")
    url = owner.addresses["http"] + path
    if method == "GET" and values:
        url += f"?{urlencode(values)}"
    headers = {"Content-Type": "application/json"}
    for token in settings.collectors.tokens[:1]:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    body = json.dumps(values).encode() if method == "POST" else None
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(
            request, timeout=answer_s, context=trust(url, settings.collectors.tls_cert)
        ) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise _said(error, owner) from None
    except (OSError, ValueError) as error:
        raise StoreAway(f"the service at {url} does not answer: {error}; try again") from None


def _said(error: urllib.error.HTTPError, owner: Owner) -> MonitorError:
    try:
        words = str(json.loads(error.read())["error"])
    except (ValueError, KeyError, TypeError):
        words = f"it answers {error.code}"
    if error.code == 401:
        words += "; name the configuration that it runs with by --config"
    kind = BadInput if error.code in (400, 404, 413) else StoreAway
    return kind(words if kind is BadInput else f"the service, process {owner.pid}, did not do it: {words}")
