"""Where a request comes from: this machine itself, a page of this app, and which visitor's address it bears."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_V6_HOME = 64  # bits of an IPv6 address that one household or machine has to itself


def came_from_here(headers: Mapping[str, str], client: str | None) -> bool:
    """Whether a request was made on this machine, by a page of this app or by a program, with nobody between.

    A page of another site can send requests to this machine, under a name of its own that leads here
    (then the Host is wrong) or across sites (then the Origin is); a proxy says whom it forwards for.
    """
    if any(name in headers for name in ("x-forwarded-for", "x-forwarded-host", "x-real-ip", "forwarded", "via")):
        return False
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    if origin is not None and not is_local(_name_in(origin)):
        return False
    return is_local(_name_in(f"//{headers.get('host', '')}")) and (client is None or is_local(client))


def from_own_page(headers: Mapping[str, str]) -> bool:
    """Whether a page of this app, or a program, sent a request, and no page of another site.

    A browser sends its cookies along with what a foreign page asks for, so a cookie says who somebody is only here.
    Browsers tell in headers that no page can set; over plain http all they tell is the Origin.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or _place_in(origin) == headers.get("host", "").lower()


def is_local(host: str | None) -> bool:
    """Whether `host`, a name or an address, can only be this machine."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def visitor_address(headers: Mapping[str, str], client: str | None, proxies: int = 0, inner: bool = False) -> str:
    """The address that stands for a visitor; of IPv6 the network of one household.

    It is `client`, who is connected to this server, unless that is one of `proxies` to be believed: then what the
    outermost of them wrote into X-Forwarded-For, counted from the end, for anybody can write the beginning. `inner`:
    those proxies may pass requests on among themselves, under addresses of no public network, which are passed over.
    """
    hops = [one.strip() for one in headers.get("x-forwarded-for", "").split(",")]
    if not proxies or len(hops) < proxies:
        return _home(client) or "nowhere"
    hops = hops[: len(hops) - proxies + 1]
    if inner:
        while len(hops) > 1 and _is_private(hops[-1]):
            hops.pop()
    return _home(hops[-1]) or _home(client) or "nowhere"


def _home(host: str | None) -> str | None:
    """The address `host`, perhaps with a port, in its one spelling; None where it is none."""
    address = _address(host)
    if address is None:
        return None
    if address.version == 6:
        return str(ipaddress.ip_network((address, _V6_HOME), strict=False).network_address)
    return str(address)


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = (host or "").strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_private(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_private


def _name_in(address: str) -> str | None:
    """The host that `address` names; None where it makes no sense."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _place_in(origin: str) -> str | None:
    """Host and port of `origin`, as a Host header would say it; None where it makes no sense."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None
