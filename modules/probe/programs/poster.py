"""A program: posts what each line of its input says (``{url, headers, body}``); answers with a line how that went."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from typing import Any

#: Seconds a receiver may take; bytes of its answer that are read.
PATIENCE = 10.0
ANSWER_MAX = 64 << 10


def retry_after(text: str | None) -> float | None:
    """Seconds of a header Retry-After, which may be a date; None for what is neither."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def posted(url: str, headers: dict[str, str], body: str) -> dict[str, Any]:
    """Its status and text; status 0 if there was no answer."""
    given = {"Content-Type": "application/json", **headers}
    request = urllib.request.Request(url, body.encode(), given, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return {"status": response.status, "text": response.read(ANSWER_MAX).decode(errors="replace")}
    except urllib.error.HTTPError as error:
        text = error.read(ANSWER_MAX).decode(errors="replace")
        return {
            "status": error.code,
            "text": text,
            "retry_after": retry_after(error.headers.get("Retry-After")),
        }
    except Exception as error:
        return {"status": 0, "text": str(getattr(error, "reason", "") or error or type(error).__name__)}


def main() -> None:
    """Until its input ends."""
    for line in sys.stdin:
        print(json.dumps(posted(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
