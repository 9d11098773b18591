"""What an API key looks like, and what is stored of it.

Apart from `identity`, which every process loads: the hashes of OpenSSL would add 0.8 MB to the zygote, for each fork to copy.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from tidegate.core.identity import KeyRecord

KEY_PREFIX = "tg_"
_KEY = re.compile(r"tg_([0-9a-f]{10})_([A-Za-z0-9_-]{43})")
_NO_DIGEST = "0" * 64


def make_key(key_id: str, secret: str) -> str:
    """The text of a key, such as `tg_0a1b2c3d4e_...`: 10 hexadecimal digits to find it by, 43 characters of chance.

    43 characters of base64 are 256 bits (`secrets.token_urlsafe(32)`), so a plain SHA-256 keeps them safe at rest.
    """
    key = f"{KEY_PREFIX}{key_id}_{secret}"
    if not _KEY.fullmatch(key):
        raise ValueError("a key is made of 10 hexadecimal digits and 43 characters of base64")
    return key


def key_id_of(key: str) -> str | None:
    """The id in the text of a key; None for what cannot be a key."""
    found = _KEY.fullmatch(key)
    return found.group(1) if found else None


def digest_of(key: str) -> str:
    """What is stored of a key: its SHA-256 in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def key_matches(key: str, record: KeyRecord | None) -> bool:
    """Whether the key is the stored one. The same work whether there is a record or not."""
    return hmac.compare_digest(digest_of(key), record.digest if record else _NO_DIGEST)
