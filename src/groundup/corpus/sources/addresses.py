"""Which machines a crawl may speak to: the guard against pages that point into private networks.

A page can name any host, and a name can be made to mean any address. So each connection resolves the name itself,
checks every address it means, and connects to a checked address, not to the name again: between check and use nothing
can change (no DNS rebinding). Redirects come this way too, for they are ordinary fetches.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore
import httpx


class Refused(httpcore.ConnectError):
    """The host is, or means, an address that must not be visited."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet's (mapped and translated forms are looked into)."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if (inner := ip.ipv4_mapped or ip.sixtofour) is not None:
            return is_public(str(inner))
        if ip in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 (RFC 6052)
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip.teredo is not None or ip.is_site_local:  # a tunnel to anywhere; fec0::/10, deprecated but routed in places
            return False
    # is_global is false for private, loopback, link-local, shared (100.64/10), reserved and documentation ranges
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to public addresses only, unless told otherwise.

    `connect_to` maps a host to the address and port to use for it, as curl's --connect-to does; it comes from our own
    code, never from a page.
    """

    def __init__(self, *, allow_private: bool, connect_to: Mapping[str, tuple[str, int]]) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._allow_private, self._connect_to = allow_private, connect_to

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        """Resolve, check, connect."""
        if host in self._connect_to:
            addresses = [self._connect_to[host][0]]
            port = self._connect_to[host][1]
        else:
            addresses = await self._resolve(host, port)
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def _resolve(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._allow_private:
            for address in addresses:
                if not is_public(address):
                    raise Refused(f"{host} is a private address ({address}); allow_private would permit it")
        return addresses

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None) -> Any:
        """Never: a crawl has no business with sockets of this machine."""
        raise Refused("unix sockets are not visited")

    async def sleep(self, seconds: float) -> None:
        """As the inner backend."""
        await self._inner.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over guarded connections; HTTP/2 where the server speaks it."""

    def __init__(self, *, allow_private: bool, connect_to: Mapping[str, tuple[str, int]], connections: int) -> None:
        super().__init__(trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(), http2=True, max_connections=connections,
            max_keepalive_connections=connections, keepalive_expiry=15.0,
            network_backend=GuardedBackend(allow_private=allow_private, connect_to=connect_to),
        )  # fmt: skip
