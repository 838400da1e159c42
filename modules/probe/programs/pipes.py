"""A program: runs programs (its argument, as JSON) with pipes between them; exits with the last code above 0."""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    """Starts all of them, waits for all of them."""
    running: list[subprocess.Popen[bytes]] = []
    source: int | None = None
    programs = json.loads(sys.argv[1])
    try:
        for number, argv in enumerate(programs):
            is_last = number == len(programs) - 1
            process = subprocess.Popen(argv, stdin=source, stdout=None if is_last else subprocess.PIPE)
            # Only the next one may hold it: a reader that goes must be seen by who writes.
            for earlier in running[-1:]:
                if earlier.stdout is not None:
                    earlier.stdout.close()
            running.append(process)
            source = None if process.stdout is None else process.stdout.fileno()
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
        for process in running:
            process.kill()
            process.wait()
        return 127
    codes = [process.wait() for process in running]
    # A program that a later one no longer listens to ends by SIGPIPE: that is no failure.
    failed = [code if code > 0 else 128 - code for code in codes if code not in (0, -13)]
    return failed[-1] if failed else 0


if __name__ == "__main__":
    sys.exit(main())
