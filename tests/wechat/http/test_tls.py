"""TLS: only a trusted certificate for the right host is accepted."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.wechat.raw_server import FINE, FINE_BODY, LOOPS, SILENCE, closing, failure, post, raw_server, run, transport
from wxbot.errors import DeliveryUnknown, RequestNotSent

pytestmark = pytest.mark.parametrize("loop", LOOPS)


def certificate(path: Path, address: str) -> Path:
    """Write a self-signed certificate for ``address`` and its key to one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wechat double")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def contexts(pem: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context with this certificate, and a client's context that trusts it."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cafile=str(pem))


def test_a_trusted_certificate_is_accepted(loop: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        server_tls, client_tls = contexts(certificate(tmp_path / "a.pem", "127.0.0.1"))
        async with raw_server(FINE, tls=server_tls) as server, transport(tls=client_tls) as client:
            for _ in range(3):
                assert await post(client, server.url) == (200, FINE_BODY)
            assert server.opened == 1

    run(loop, scene())


@pytest.mark.parametrize(("address", "trusted"), [("127.0.0.1", False), ("127.0.0.2", True)])
def test_an_untrusted_certificate_or_a_wrong_host_is_rejected(
    loop: Any, tmp_path: Path, address: str, trusted: bool
) -> None:
    async def scene() -> None:
        server_tls, client_tls = contexts(certificate(tmp_path / "a.pem", address))
        async with raw_server(FINE, tls=server_tls) as server, transport(tls=client_tls if trusted else None) as client:
            error = await failure(post(client, server.url))
            assert isinstance(error, RequestNotSent)
            assert "certificate is not trusted" in str(error)
            assert server.requests == []

    run(loop, scene())


def test_incomplete_answers_over_tls(loop: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        server_tls, client_tls = contexts(certificate(tmp_path / "a.pem", "127.0.0.1"))
        async with (
            raw_server(closing(FINE[:-1]), SILENCE, FINE, tls=server_tls) as server,
            transport(tls=client_tls) as client,
        ):
            for _ in range(2):
                assert isinstance(await failure(post(client, server.url, total=1.0)), DeliveryUnknown)
            assert await post(client, server.url) == (200, FINE_BODY)
            call = asyncio.ensure_future(failure(post(client, server.url)))
            await client.close()
            assert isinstance(await call, RequestNotSent)

    run(loop, scene())


def test_a_hanging_handshake_is_not_sent(loop: Any) -> None:
    async def scene() -> None:
        async with raw_server(SILENCE) as server, transport() as client:
            url = server.url.replace("http:", "https:")
            error = await failure(post(client, url, connect=0.1))
            assert isinstance(error, RequestNotSent)

    run(loop, scene())
