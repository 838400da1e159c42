"""Knows the shell that edits a record of the registry or a file: its words, completion, ^C; not the document."""

from __future__ import annotations

import cmd
import shlex
import sys
from pathlib import Path

import click

from brokersim.cli.command import Command, examples, pass_session
from brokersim.cli.errors import CommandError, usage_error
from brokersim.cli.registry.desk import Desk, Wrong, shown, to_value
from brokersim.cli.registry.places import File, Place, Record, Web
from brokersim.cli.registry.token import read_token
from brokersim.cli.session import Session
from brokersim.protocol.decoded import Json, JsonObject
from brokersim.protocol.errnums import RequestError

#: What a probe module takes of a service's record.
_CONFIG = ("name", "status", "ttl", "merge", "sinks", "probe_defaults", "probes", "labels")


class Shell(cmd.Cmd):
    """One line, one word and its arguments. ``run`` reads lines until ^D, or twice ^C."""

    def __init__(self, session: Session, place: Place) -> None:
        super().__init__(stdin=sys.stdin, stdout=sys.stdout)
        self._session = session
        self._place = place
        self.desk = Desk(place.read())
        self.is_talking = sys.stdin.isatty()
        self.use_rawinput = self.is_talking
        self.completekey = "tab"
        self.identchars += "-"

    @property
    def prompt(self) -> str:  # type: ignore[override]
        return f"{self.desk.path}{'*' if self.desk.is_changed else ''}> " if self.is_talking else ""

    def run(self) -> None:
        """^C drops the line; a second one on an empty line leaves, with nothing half written."""
        interrupted = False
        while True:
            try:
                line = input(self.prompt) if self.is_talking else self._next_line()
                interrupted = False
                if self.onecmd(line):
                    return
            except EOFError:
                return
            except KeyboardInterrupt:
                if interrupted:
                    return
                interrupted = True
                self._session.say("^C again leaves")
            except Wrong as error:
                if not self.is_talking:
                    raise CommandError(str(error)) from None
                self._session.say(f"error: {error}")

    def _next_line(self) -> str:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    # -- words

    def emptyline(self) -> bool:
        return False

    def default(self, line: str) -> None:
        word = line.split()[0]
        if word in ("run-now", "run_now"):
            self.do_run_now(line[len(word) :].strip())
            return
        raise Wrong(f"no word {word!r:.40}; help lists them")

    def do_help(self, line: str) -> None:
        """help [WORD] -- the words there are"""
        words = {
            name[3:].replace("_", "-"): getattr(self, name).__doc__ for name in dir(self) if name[:3] == "do_"
        }
        if line and line not in words:
            raise Wrong(f"no word {line!r:.40}; help lists them")
        for text in [words[line]] if line else [words[word] for word in sorted(words) if word != "EOF"]:
            self._out(text or "")

    def do_show(self, line: str) -> None:
        """show [PATH] -- what stands there; show --there prints what is written now, by whomever"""
        if line == "--there":
            self._out(shown(self._place.read()))
        else:
            self._out(shown(self.desk.at(self.desk.resolve(line))))

    def do_ls(self, line: str) -> None:
        """ls [PATH] -- its keys"""
        self._out("  ".join(self.desk.names(line)))

    def do_lsd(self, line: str) -> None:
        """lsd [PATH] -- those of its keys that have keys themselves"""
        self._out("  ".join(name for name in self.desk.names(line) if name.endswith("/")))

    def do_cd(self, line: str) -> None:
        """cd [PATH] -- stand there; without one, at the top"""
        self.desk.go(line or "/")

    def do_pwd(self, line: str) -> None:
        """pwd -- where you stand"""
        self._out(self.desk.path)

    def do_set(self, line: str) -> None:
        """set PATH VALUE -- JSON, else text"""
        path, _, value = line.partition(" ")
        if not value.strip():
            raise Wrong("set needs a path and a value: set schedule/params/every 5")
        self.desk.set(path, to_value(value.strip()))

    def do_del(self, line: str) -> None:
        """del PATH -- take a key away"""
        self.desk.delete(line)

    def do_mkdir(self, line: str) -> None:
        """mkdir [-p] PATH -- an empty object; -p: with those it lies in, and none is no mistake"""
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise Wrong(f"mkdir {line}: {str(error).lower()}") from None
        with_parents = words[:1] == ["-p"]
        paths = words[1:] if with_parents else words
        if len(paths) != 1:
            raise Wrong("mkdir needs one path: mkdir -p probes/load/config")
        self.desk.make(paths[0], with_parents)

    def do_diff(self, line: str) -> None:
        """diff -- what was edited"""
        for one in self.desk.diff():
            self._out(one)

    def do_undo(self, line: str) -> None:
        """undo -- take the last edit back; after put, put writes the version before"""
        self.desk.undo()

    def do_put(self, line: str) -> None:
        """put -- write it, if nobody else has meanwhile"""
        self.desk.written(self._place.write(self.desk.document))

    def do_reload(self, line: str) -> None:
        """reload -- put, and have the probe module take it now"""
        if self.desk.is_changed:
            self.do_put("")
        if not self._place.has_instance:
            return  # who follows the record has been told of it
        config = {key: self.desk.document[key] for key in _CONFIG if key in self.desk.document}
        self._ask("probe.reload", {"config": config})

    def do_run_now(self, line: str) -> None:
        """run-now NAME -- one run of a measurement, beside its schedule"""
        self._ask("probe.run-now", {"name": line})

    def do_explain(self, line: str) -> None:
        """explain PATH -- where a value of a running probe module comes from"""
        answer = self._ask("probe.explain", {"key": "/".join(self.desk.resolve(line))})
        for layer in answer["layers"]:
            mark = "*" if layer["wins"] else " "
            self._out(f"{mark} {layer['layer']:<12} {shown(layer['value']) if layer['is_set'] else '-'}")

    def do_exit(self, line: str) -> bool:
        """exit -- leave; what was not put is lost (also ^D)"""
        return True

    do_EOF = do_exit

    def completedefault(self, text: str, line: str, begidx: int, endidx: int) -> list[str]:
        word = line[:endidx].split(" ")[-1]
        cut = len(word) - len(text)
        return [path[cut:] for path in self.desk.complete(word)]

    def _out(self, text: str) -> None:
        self._session.out(text)

    def _ask(self, topic: str, payload: JsonObject) -> Json:
        if not self._place.has_instance:
            raise Wrong(f"{topic} is asked of an instance; here is a registry's web address")
        try:
            return self._session.client.rpc(topic, payload)
        except RequestError as error:
            raise Wrong(f"{topic}: {error.text or error}") from None


@click.command(
    "shell",
    cls=Command,
    **examples(
        ("brokersim registry shell services s0", "edit a record; help lists the words"),
        ("brokersim registry shell --file probes.json", "edit a file"),
        ("brokersim registry shell --url http://h:8128 services s0", "over HTTP"),
        ("echo 'set /status \"OFF\"\nput' | brokersim registry shell services s0", "from a script"),
    ),
)
@click.option(
    "--file", "path", type=click.Path(path_type=Path), metavar="FILE", help="edit a JSON file instead"
)
@click.option("--url", metavar="URL", help="over HTTP, from registry serve: http://HOST:PORT or unix:PATH")
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="what writers must say there"
)
@click.argument("collection", required=False)
@click.argument("ident", metavar="[ID]", required=False)
@pass_session
def shell(
    session: Session, /, path: Path | None, url: str | None, token_file: Path | None, collection: str | None,
    ident: str | None,
) -> None:  # fmt: skip
    """Edit a record, or a file, by words; nothing is written before put."""
    if path is not None and collection is None:
        place: Place = File(path)
    elif path is None and collection is not None and ident is not None:
        if url is None:
            place = Record(session, collection, ident)
        else:
            place = Web(url, read_token(token_file) if token_file else None, collection, ident)
    else:
        raise usage_error(
            "give COLLECTION and ID, or --file FILE", attempt="brokersim registry shell services s0"
        )
    editor = Shell(session, place)
    if editor.is_talking:
        _with_readline(editor)
    editor.run()


def _with_readline(editor: Shell) -> None:
    try:
        import readline  # a build of Python may lack it: then there is no completion, and that is all
    except ImportError:
        return
    readline.set_completer_delims(" ")
    readline.set_completer(editor.complete)  # type: ignore[arg-type]  # typeshed: of one of the two
    readline.parse_and_bind("tab: complete")
