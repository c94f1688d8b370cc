"""Where a request comes from, by headers that anybody can make up."""

from __future__ import annotations

import pytest

from labeling.addresses import from_own_page, visitor_address


def via(*hops: str) -> dict[str, str]:
    return {"x-forwarded-for": ", ".join(hops)}


@pytest.mark.parametrize(
    "headers", [{}, via("6.6.6.6"), via("6.6.6.6", "7.7.7.7"), {"x-real-ip": "6.6.6.6"}, {"forwarded": "for=6.6.6.6"}]
)
def test_without_proxies_the_connection_alone_counts(headers):
    assert visitor_address(headers, "8.8.8.8") == "8.8.8.8"


@pytest.mark.parametrize(("hops", "proxies", "found"), [
    (["1.1.1.1"], 1, "1.1.1.1"),
    (["6.6.6.6", "1.1.1.1"], 1, "1.1.1.1"),  # whoever sent it wrote the first
    (["6.6.6.6", "7.7.7.7", "1.1.1.1", "10.0.0.1"], 2, "1.1.1.1"),
    ([], 1, "8.8.8.8"), (["1.1.1.1"], 2, "8.8.8.8"),  # it did not come through all of them
    (["nonsense"], 1, "8.8.8.8"), ([""], 1, "8.8.8.8"), (["6.6.6.6", "<script>"], 1, "8.8.8.8"),
    (["6.6.6.6", "10.0.0.1"], 1, "10.0.0.1"),
])  # fmt: skip
def test_of_proxies_that_are_believed_the_outermost_names_the_visitor(hops, proxies, found):
    assert visitor_address(via(*hops), "8.8.8.8", proxies) == found


@pytest.mark.parametrize(("hops", "found"), [
    (["1.1.1.1"], "1.1.1.1"), (["1.1.1.1", "10.16.3.80"], "1.1.1.1"), (["6.6.6.6", "1.1.1.1", "10.16.3.80", "172.16.0.1"],
    "1.1.1.1"),
    (["10.16.3.80"], "10.16.3.80"), (["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
])  # fmt: skip
def test_addresses_inside_a_space_are_passed_over(hops, found):
    assert visitor_address(via(*hops), "10.0.0.9", 1, inner=True) == found


@pytest.mark.parametrize(("spelling", "found"), [
    ("1.2.3.4:5678", "1.2.3.4"), ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::"), ("2001:DB8:1:2::1", "2001:db8:1:2::"),
    ("2001:db8:1:2:ffff::9", "2001:db8:1:2::"), ("::ffff:1.2.3.4", "1.2.3.4"), ("fe80::1%eth0", "fe80::"),
])  # fmt: skip
def test_one_household_has_one_address_however_it_is_spelt(spelling, found):
    assert visitor_address(via(spelling), "8.8.8.8", 1) == found
    assert visitor_address({}, spelling) == found


@pytest.mark.parametrize("client", [None, "", "testclient"])
def test_who_has_no_address_shares_one(client):
    assert visitor_address({}, client) == "nowhere"


HOST = {"host": "studio.example.org:7860"}


@pytest.mark.parametrize("headers", [
    {}, {"origin": "http://studio.example.org:7860"}, {"origin": "https://STUDIO.example.org:7860"},
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "same-origin", "origin": "https://a-proxy-changed-the-host.org"},  # no page can write that header
])  # fmt: skip
def test_a_page_of_this_app_and_a_program_are_told_from_other_sites(headers):
    assert from_own_page(HOST | headers)


@pytest.mark.parametrize("headers", [
    {"origin": "https://evil.com"}, {"origin": "null"}, {"origin": ""}, {"origin": "http://studio.example.org"},
    {"origin": "http://studio.example.org:7861"}, {"origin": "http://["}, {"origin": "http://evil.com/studio.example.org:7860"},
    {"origin": "http://studio.example.org:7860@evil.com"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://studio.example.org:7860"},
    {"origin": "https://evil.com", "x-forwarded-host": "evil.com"},
])  # fmt: skip
def test_pages_of_other_sites_are_not_this_app(headers):
    assert not from_own_page(HOST | headers)
