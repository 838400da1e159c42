"""What the README tells a stranger to type works as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
# End only when somebody presses ^C; tests/cli follows traces, and looks at top.
ENDLESS = ("module trace", "brokersim top")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def session(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  #")[0].strip(), []))
        elif found:
            found[-1][1].append(line)
    return found


def start(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brokersim", "start", *options, "--", "sh", "-e", "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_commands_of_the_five_minutes_print_what_is_shown() -> None:
    inside = next(block for block in blocks("console") if "module list" in block)
    commands = [
        (command, shown)
        for command, shown in session(inside)
        if command.startswith("brokersim ") and not any(word in command for word in ENDLESS)
    ]
    assert len(commands) >= 9
    done = start("\n".join(f"echo '$ {number}'\n{command}" for number, (command, _) in enumerate(commands)))
    assert done.returncode == 0, done.stderr
    printed = re.split(r"^\$ \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    for (command, shown), text in zip(commands, printed, strict=True):
        for line in shown:
            assert line in text.splitlines(), command


def test_statistics_of_all_ranks_and_a_probe_are_what_the_block_says() -> None:
    inside = next(block for block in blocks("console") if "metrics add" in block)
    commands = [command for command, _ in session(inside)]
    assert [command.split()[1] for command in commands] == ["metrics", "metrics", "module", "probe"]
    done = start("\n".join(commands), "-s", "2")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert int(rows["kvs"][-1]) > 0, "a row a module, merged up the tree"


def test_what_needs_no_instance_runs_without_one(tmp_path: Path) -> None:
    beside = next(block for block in blocks("console") if "probe read" in block)
    command = next(command for command, _ in session(beside) if "probe read" in command)
    words = [sys.executable, "-m", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_run_is_kept_reported_and_exported_by_the_commands_shown_one_after_the_other(
    tmp_path: Path,
) -> None:
    kept = next(block for block in blocks("console") if "runs export" in block)
    commands = [command for command, _ in session(kept) if "a.db" in command]
    assert [command.split()[1] for command in commands] == ["bench", "report", "runs"]
    # As shown but for its length: a run of 200 jobs takes half a minute.
    script = "\n".join(
        command + " --jobs 3 --hooks none,prepare" if "bench" in command else command for command in commands
    ).replace("brokersim ", f"{sys.executable} -m brokersim ")
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "prepare" in done.stdout


def test_other_ways_to_start_are_options_that_exist() -> None:
    starts = [
        command
        for block in blocks("console")
        for command, _ in session(block)
        if command.startswith("brokersim start ") and "--" in command
    ]
    assert starts
    for command in starts:
        words = command.split()[1:]
        options = words[: words.index("--")] if "--" in words else [word for word in words if word != "-d"]
        done = subprocess.run(
            [sys.executable, "-m", "brokersim", *options, "-m", "none", "--", "true"],
            cwd=ROOT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)


def test_the_sentence_and_the_picture_are_what_their_command_says_and_draws(tmp_path: Path) -> None:
    drawn = re.search(r"`brokersim (bench watchers [^`]*) --out hooks --plot svg`", README)
    quoted = re.search(r"^> (.*\n)(> .*\n)*", README, re.MULTILINE)
    assert drawn and quoted
    words = [sys.executable, "-m", "brokersim", *drawn[1].split(), "--out", "hooks", "--plot", "svg"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.partition("\n\n")[0].split())
    assert " ".join(quoted[0].replace("> ", "").split()) == said
    times = re.search(r"idle costs (\d+ times)", said)
    assert times and f"idle takes {times[1]} as long" in README
    picture = tmp_path / "hooks" / "watchers.svg"
    shown = (ROOT / "docs" / "pictures" / "hooks.svg").read_text(encoding="utf-8")
    assert labels(picture.read_text(encoding="utf-8")) == labels(shown)


def labels(svg: str) -> list[str]:
    """What is written in a picture, but for where it was drawn."""
    return [text for text in re.findall(r"<!-- (.*?) -->", svg) if "CPython" not in text]


def test_the_program_in_the_readme_runs() -> None:
    program = next(block for block in blocks("python") if "open_instance" in block)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    reply, counts = done.stdout.splitlines()
    assert reply == "{'hello': 'hello', 'rank': 3}"
    assert counts.startswith("[") and counts.count(",") == 7


def test_the_test_in_the_readme_passes(tmp_path: Path) -> None:
    test = next(block for block in blocks("python") if "broker.deltas" in block)
    (tmp_path / "test_it.py").write_text(test.replace("examples/", f"{ROOT}/examples/"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_every_file_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
