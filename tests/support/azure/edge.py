"""Azure's edge on loopback: a proxy that brings its host names to this machine, and certificates that name them.

Programs under test use Azure's own addresses. HTTPS_PROXY leads them here, and a throw-away authority, which their
trust is pointed at, vouches for the names.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from .state import REGION

NAMES = (
    "login.microsoftonline.com",
    "management.azure.com",
    "*.api.azureml.ms",
    "*.azurecr.io",
    "*.blob.core.windows.net",
    "*.dfs.core.windows.net",
    f"*.{REGION}.inference.ml.azure.com",  # a wildcard stands for one label
    "localhost",
)
SECONDS = datetime.timedelta(days=1)


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server.pem and server.key."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])

    def begin(name: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
        begun = x509.CertificateBuilder().subject_name(name).issuer_name(authority).public_key(key.public_key())
        dated = begun.not_valid_before(now - SECONDS).not_valid_after(now + SECONDS)
        return dated.serial_number(x509.random_serial_number())

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    own = begin(authority, authority_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    own = own.add_extension(usage, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    signed = own.add_extension(identifier, critical=False).sign(authority_key, hashes.SHA256())
    (folder / "ca.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    server = begin(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "azure")]), key)
    names = x509.SubjectAlternativeName([x509.DNSName(name) for name in NAMES])
    server = server.add_extension(names, critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    made = server.add_extension(issuer, critical=False).sign(authority_key, hashes.SHA256())
    (folder / "server.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))


async def serve_proxy(port: int, find_port: Callable[[str], int | None]) -> asyncio.Server:
    """Serve CONNECT, as a proxy of HTTPS does.

    Args:
        port: to listen at.
        find_port: returns the port of this machine that stands for a host name; None: the host is refused.
    """

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()
        with suppress(OSError):
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split()
        found = find_port(target.partition(":")[0]) if method == "CONNECT" else None
        if found is None:
            writer.write(b"HTTP/1.1 502 Nothing of Azure\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", found)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await writer.drain()
        await asyncio.gather(pump(reader, back), pump(there, writer))

    return await asyncio.start_server(connect, "127.0.0.1", port)
