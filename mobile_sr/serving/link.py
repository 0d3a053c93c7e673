"""The link to the page: its address and its QR code."""

from __future__ import annotations

import io
import ipaddress
import secrets
import socket

from mobile_sr.errors import UserError

TOKEN_BYTES = 9  # 72 bits; 12 characters in the link


def new_token() -> str:
    """Returns a random token for the link."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def check_address(address: str) -> str:
    """Returns the IP address of --bind. Raises UserError if it is not one."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        raise UserError(f"--bind {address}: not an IP address; 0.0.0.0 means all of this machine's") from None


def is_local(address: str) -> bool:
    """Returns whether an address is reached from this machine only."""
    return ipaddress.ip_address(address).is_loopback


def reachable(address: str) -> str:
    """Returns the address for the link: for 0.0.0.0 and ::, that of the interface with the default route."""
    bound = ipaddress.ip_address(address)
    if not bound.is_unspecified:
        return address
    family, target = (socket.AF_INET, "192.0.2.1") if bound.version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))  # an address for documentation; connecting UDP sends nothing
            return probe.getsockname()[0]
        except OSError:  # no network
            return "127.0.0.1" if bound.version == 4 else "::1"


def link(scheme: str, address: str, port: int, token: str) -> str:
    """Returns the link to the page."""
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}/{token}/"


def qr_code(text: str) -> str | None:
    """Returns a QR code for terminals, in block characters; None if the package segno is not installed."""
    try:
        import segno
    except ImportError:
        return None
    out = io.StringIO()
    segno.make(text, error="m").terminal(out, border=2, compact=True)
    return out.getvalue()
