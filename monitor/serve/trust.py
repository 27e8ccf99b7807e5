"""Trust in the service of this machine, when it is asked over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path


def trust(url: str, certificate: Path | None) -> ssl.SSLContext | None:
    """Trust in the very certificate that the service is set to use, whatever name it is for: it is on this machine."""
    if not url.startswith("https:") or certificate is None:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    return context
