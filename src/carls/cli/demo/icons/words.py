"""The words of an icon's name and tags, as numbers."""

from __future__ import annotations

import zlib

#: Numbers that words are hashed to.
VOCABULARY = 4096


def words_of(name: str, tags: str) -> list[int]:
    """The numbers, in order, of what a name such as "bell-off" and tags such as "alarm|mute" consist of.

    These are the name, its parts, the tags, their parts, and all runs of three letters of parts and tags with
    marks at both ends. Each is hashed by CRC-32, so some share a number.
    """
    listed = tags.split("|")
    parts = name.split("-")
    found = {f"name {name}", *(f"name {part}" for part in parts)}
    for tag in listed:
        found |= {tag, *tag.split("-")}
    for text in (*parts, *listed):
        marked = f"<{text}>"
        found |= {f"letters {marked[at : at + 3]}" for at in range(len(marked) - 2)}
    return sorted({zlib.crc32(text.encode()) % VOCABULARY for text in found})
