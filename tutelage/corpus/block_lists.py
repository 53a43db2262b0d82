"""Published lists of sites, by the reason for which their pages are left out. None comes with the package: a list is
fetched when a recipe first names it."""

from __future__ import annotations

from typing import Literal, NamedTuple

ListName = Literal["adult", "piracy"]


class BlockList(NamedTuple):
    """A list of domains, one per line: where it is, why its sites are left out, and who publishes it."""

    address: str
    why: str
    publisher: str


BLOCK_LISTS: dict[ListName, BlockList] = {
    "adult": BlockList(
        "https://raw.githubusercontent.com/olbat/ut1-blacklists/master/blacklists/adult/domains.gz",
        "adult content; RefinedWeb and FineWeb block the sites of this list",
        "University Toulouse Capitole (CC BY-SA 4.0)",
    ),
    "piracy": BlockList(
        "https://raw.githubusercontent.com/hagezi/dns-blocklists/main/domains/anti.piracy.txt",
        "copies without a licence: warez, torrents, streams; shadow libraries only as far as the list has them",
        "hagezi/dns-blocklists (GPL-3.0)",
    ),
}
