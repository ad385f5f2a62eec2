"""What `--state` may say. Pure."""

from urllib.parse import urlsplit


def refuse_state(text: str) -> str | None:
    """Return why `text` names no state, or None if it does. Never quotes it: there may be a password in it."""
    kind, _, rest = text.partition(":")
    if text == "memory":
        return None
    if not text.isprintable() or (" " in text and kind != "sqlite"):
        return "it holds white space, or what cannot be printed"
    if kind == "sqlite":
        # SQLite has names of its own that begin so, and are no files.
        return "it is not sqlite: and the path of a file" if not rest or rest.startswith(":") else None
    if kind in {"redis", "rediss"}:
        return _refuse_server(text)
    return "it is none of memory, sqlite:PATH, redis://HOST and rediss://HOST"


def _refuse_server(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "its address cannot be read"
    if not url.startswith(f"{parts.scheme}://") or not host or port == 0:
        return "it names no server: redis://HOST, redis://HOST:PORT or redis://HOST:PORT/NUMBER"
    database = parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdecimal()):
        return "after the server comes the number of a database, or nothing"
    # The client would take settings from there, deadlines and checks of certificates among them.
    return "it has a ? or a #; write %3F and %23 in a password" if "?" in url or "#" in url else None
