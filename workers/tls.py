"""TLS to the broker: what its URL says of certificates, in the same words for Redis and RabbitMQ.

Left to themselves kombu takes any certificate of a `rediss://` without these words, checks the name of no
RabbitMQ, and does not know them in an `amqps://`.
"""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pipeline.errors import SettingsError

FILES = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
CHECKS = {"required": ssl.CERT_REQUIRED, "none": ssl.CERT_NONE}
NAMES = {"true": True, "false": False}
SCHEMES = ("redis", "rediss", "amqp", "amqps", "memory")
WORDS = (*FILES, "ssl_cert_reqs", "ssl_check_hostname")


def split_tls(broker_url: str) -> tuple[str, dict[str, Any] | None]:
    """Return the URL without what it says of TLS, and that as Celery's `broker_use_ssl`: None without TLS.

    Certificate and name are checked where it does not say otherwise, by the system's authorities where it
    names none.  Raises SettingsError for a kind of broker or a word that we do not know, a wrong value, and
    a file that is not there.
    """
    scheme, _, rest = broker_url.partition("://")
    place, _, query = rest.partition("?")
    words = dict(parse_qsl(query, keep_blank_values=True))
    said = {name: words.pop(name) for name in list(words) if name.startswith("ssl_")}
    if scheme not in SCHEMES:
        raise SettingsError(
            f"broker: {scheme}:// is not supported; give redis://, rediss://, amqp:// or amqps://"
        )
    if scheme not in ("rediss", "amqps"):
        if said:
            raise SettingsError(f"broker: {min(said)} is for rediss:// and amqps://, not for {scheme}://")
        return broker_url, None
    for name in said:
        if name not in WORDS:
            raise SettingsError(f"broker: unknown {name} in its URL; there are {', '.join(WORDS)}")
    files = {name: said[name] for name in FILES if name in said}
    for name, file in files.items():
        if not Path(file).is_file():
            raise SettingsError(f"broker: there is no file {file}, which {name} in its URL names")
    check = _one_of(CHECKS, "ssl_cert_reqs", said.get("ssl_cert_reqs", "required"))
    named = _one_of(NAMES, "ssl_check_hostname", said.get("ssl_check_hostname", "true"))
    named = named and check is not ssl.CERT_NONE
    url = f"{scheme}://{place}" + (f"?{urlencode(words)}" if words else "")
    if scheme == "rediss":
        return url, files | {"ssl_cert_reqs": check, "ssl_check_hostname": named}
    options = {FILES[name]: file for name, file in files.items()} | {"cert_reqs": check}
    if named:  # py-amqp checks the name where it is told one
        options["server_hostname"] = urlsplit(f"//{place}").hostname
    return url, options


def _one_of(values: dict[str, Any], name: str, value: str) -> Any:
    if value not in values:
        raise SettingsError(f"broker: {name}={value} in its URL; it is {' or '.join(values)}")
    return values[value]
