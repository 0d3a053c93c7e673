"""A certificate made on the spot, for HTTPS on the local network. Browsers warn of it once, because nobody else signed it."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterable

from mobile_sr.errors import UserError
from mobile_sr.files import temporary_folder

DAYS = 7  # a server runs for hours


def server_context(addresses: Iterable[str]) -> tuple[ssl.SSLContext, str]:
    """Makes a key and a certificate. Both are in memory only once this function returns.

    Args:
        addresses: IP addresses under which the server is reached; localhost is added.

    Returns:
        (context for the server's sockets, SHA-256 fingerprint of the certificate as browsers show it).

    Raises:
        UserError: the package cryptography is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise UserError(
            "HTTPS needs the package cryptography: pip install 'mobile-sr[serve]'; with --http the page is served without "
            "it, and runs on the CPU only, on one thread"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mobile-sr serve")])
    now = datetime.datetime.now(datetime.UTC)
    known = {ipaddress.ip_address(address.partition("%")[0]) for address in (*addresses, "127.0.0.1", "::1")}
    names = [x509.DNSName("localhost"), *(x509.IPAddress(address) for address in sorted(known, key=str))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of phones differ
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with temporary_folder("mobile-sr-certificate-") as folder:  # private; Python's ssl reads files only
        file = folder / "server.pem"
        file.touch(mode=0o600)
        file.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(file)
    return context, certificate.fingerprint(hashes.SHA256()).hex(":").upper()
