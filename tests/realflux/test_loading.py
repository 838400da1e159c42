"""Module files of ours in a real Flux: which can serve there, what the commands are, and metrics over four brokers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from brokersim.host.loader import shipped_folder
from brokersim.realflux import loading
from brokersim.realflux.place import Flux
from tests.realflux.peer import needs_flux

#: A `flux` that writes down how it was called; it has sched-simple loaded and refuses what is named taken.
FAKE = """\
#!/bin/sh
echo "$*" >> "$(dirname "$0")/calls"
case "$*" in
  *"module list") echo "Module Idle"; echo "sched-simple 3 R" ;;
  *--name=taken*) echo "flux-module: load: File exists" >&2; echo "[1] Exit 1" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flux:
    (tmp_path / "flux").write_text(FAKE)
    (tmp_path / "flux").chmod(0o755)
    monkeypatch.setattr(loading, "loader", lambda: Path("/x/brokersim-module"))
    return Flux(command=tmp_path / "flux", version="flux-core 0")


def calls(flux: Flux) -> list[str]:
    return (flux.command.parent / "calls").read_text().splitlines()


def test_every_shipped_module_serves_there_or_says_why_not():
    names = {
        path.name.replace("_", "-") for path in shipped_folder().iterdir() if (path / "__init__.py").is_file()
    }
    assert names == set(loading.SERVES) | set(loading.WHY_NOT)
    assert not set(loading.SERVES) & set(loading.WHY_NOT)
    for name, why in loading.WHY_NOT.items():
        with pytest.raises(loading.CannotLoad, match=f"{name} does not serve in a Flux: ") as caught:
            loading.plan(name)
        assert why in str(caught.value)


def test_a_shipped_module_and_a_file_get_their_names(tmp_path: Path):
    assert loading.plan("metrics").name == "metrics"
    assert loading.plan("kvs-watch").path == shipped_folder() / "kvs_watch" / "__init__.py"
    own = tmp_path / "my.module.py"
    own.touch()
    assert loading.plan(str(own)) == loading.Plan(path=own, name="my")
    assert loading.plan(str(own), "other").name == "other"
    like = tmp_path / "kvs.py"  # called as one that does not serve there, and another
    like.touch()
    assert loading.plan(str(like)) == loading.Plan(path=like, name="kvs")


def test_the_commands_are_flux_s_own(fake: Flux):
    wish = loading.plan("sched")
    assert loading.load(fake, wish, "0-3", ["a=1"]) == []
    assert loading.load(fake, wish, "all", replace=True) == ["sched-simple"]
    load = f"flux module load --loader=/x/brokersim-module --name=sched {wish.path}"
    assert calls(fake) == [
        f"exec -r 0-3 {load} a=1",
        "exec -r all flux module list",
        "exec -r all flux module remove -f sched-simple",
        f"exec -r all {load}",
    ]


def test_what_is_not_loaded_there_is_not_removed(fake: Flux):
    assert loading.load(fake, loading.plan("heartbeat"), "0", replace=True) == []
    assert not [call for call in calls(fake) if "remove" in call]


def test_what_flux_says_is_told(fake: Flux):
    with pytest.raises(loading.CannotLoad, match=r"^flux-module: load: File exists$"):
        loading.load(fake, loading.plan("metrics", "taken"), "all")


def test_the_loader_stands_beside_the_interpreter():
    assert loading.loader() == Path(sys.executable).parent / "brokersim-module"
    done = subprocess.run([loading.loader(), "x.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, "FLUX_MODULE_URI=fd://N" in done.stderr) == (2, True)


#: Inside four brokers: the module on all ranks, an observation on each, one row of all.
SCRIPT = """\
set -e
"$BROKERSIM" flux load metrics
"$BROKERSIM" metrics add t stream=s apply=sum,max --break 0
for rank in 0 1 2 3; do "$BROKERSIM" metrics observe s k $((rank + 1)) -r $rank; done
"$BROKERSIM" metrics show t k
"$BROKERSIM" metrics collect t
"$BROKERSIM" metrics add counters
flux kvs put a=1
"$BROKERSIM" metrics collect counters --by module --json | grep -c '"module":"resource"'
"$BROKERSIM" metrics add job.state
flux run true
"$BROKERSIM" metrics collect job.state --json | grep -c '"state":"RUN"'
flux exec -r all flux module remove metrics
"""


def test_metrics_merge_over_four_brokers_of_a_real_flux():
    row = "Str  N  Sum  Max\nk    4   10    4\n"
    assert in_flux(4, SCRIPT) == f"{row}{row}1\n1\n"


CRON = """\
set -e
"$BROKERSIM" flux load -r 0 --replace cron
flux cron interval -N tick -c 2 0.1s true
until flux cron dump 1 | grep -q "stats.success = 2"; do sleep 0.1; done
flux cron delete --kill 1 | cut -d: -f1
flux module remove cron
"""


def test_commands_of_our_cron_are_run_by_a_real_flux():
    assert in_flux(1, CRON) == "interval: cron-1 created\nRemoved cron-1\n"


def in_flux(size: int, script: str) -> str:
    """What a script says inside a real Flux of so many brokers."""
    flux = needs_flux()
    own = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX_", "BROKERSIM_"))}
    done = subprocess.run(
        [flux, "start", "-s", str(size), "sh", "-c", script],
        capture_output=True, text=True, timeout=120, check=False,
        env={**own, "BROKERSIM": str(Path(sys.executable).parent / "brokersim")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
