"""``python -m brokersim``: the same as the ``brokersim`` command."""

from brokersim.cli.main import main

raise SystemExit(main())
