"""Names, parameters and defaults of Flux's own Python package against ours; nothing of it is imported.

The package ``flux-python`` is downloaded from the package index and only parsed. Without network this is skipped,
loudly; a difference that is meant stands in ``DIFFERENT`` with its reason.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import warnings
import zipfile
from typing import Any

import pytest

from brokersim.fluxapi import constants

VERSION = "0.88.0"
FILES = (
    "brokermod", "message", "future", "rpc", "kvs", "core.handle", "core.watchers", "job.JobID", "scheduler", "idset",
    "hostlist", "resource.ResourceCount", "resource.ResourcePool", "resource.ResourcePoolImplementation",
    "resource.ResourceSet", "resource.ResourceSetImplementation", "resource.Rv1Pool", "resource.Rv1Set",
    "resource.TreePool", "sdexec.map",
)  # fmt: skip
#: What a module has no use for, or what cannot be here, by name; each with its reason.
DIFFERENT = {
    "brokermod.BrokerLogger.__init__": "made by BrokerModule, never by a module",
    "core.handle.Flux.__init__": "the default is a NULL of the C library; a module never makes one",
    "core.handle.Flux.set_exception": "exceptions go to the entry point without passing through C",
    "core.handle.Flux.raise_if_exception": "the same",
    "core.watchers.timeout_handler_wrapper": "called from C",
    "core.watchers.fd_handler_wrapper": "called from C",
    "core.watchers.signal_handler_wrapper": "called from C",
    "message.message_handler_wrapper": "called from C",
    "future.continuation_callback": "called from C",
    "future.init_callback": "called from C",
    "future.Future.raise_if_handle_exception": "exceptions do not pass through C",
    "future.Future.fulfill_error": "absent: futures made by hand",
    "future.WaitAllFuture": "absent: futures made by hand",
    "future.FutureExt": "absent: futures made by hand",
    "kvs.KVSWrapper": "C library",
    "kvs.kvs_checkpoint_lookup": "absent",
    "kvs.KVSDir.KVSDirIterator": "iteration is a generator",
    "hostlist.HostlistIterator": "iteration is a generator",
    "idset.IDset.__init__": "the default is a constant of the file's own",
    "resource.ResourceSet.ResourceSet.state": "a plain attribute",
    "resource.Rv1Set.Rv1Set.scheduling": "a plain attribute",
    "resource.TreePool._TreePoolV1.__init__": "parameters by name, as those of its base",
    "resource.TreePool.amend": "absent: reads hwloc's XML by a C library",
    "sdexec.map.main": "absent: a command line of its own",
    "idset.IDsetIterator": "iteration is a generator",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest",
        str(folder), f"flux-python=={VERSION}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = list(folder.glob("*.whl"))
    if not found:
        text = (
            f"CONTRACT NOT CHECKED: flux-python {VERSION} cannot be downloaded: {done.stderr.strip()[-200:]}"
        )
        warnings.warn(text, stacklevel=1)
        pytest.skip(text)
    return zipfile.ZipFile(found[0])


def parameters(node: ast.FunctionDef) -> list[tuple[str, Any]]:
    """(name, default) of each parameter; ``...`` stands for none."""
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults = [...] * (len(plain) - len(args.defaults)) + [value_of(default) for default in args.defaults]
    found = list(zip([arg.arg for arg in plain], defaults, strict=True))
    if args.vararg:
        found.append((f"*{args.vararg.arg}", ...))
    found += [
        (arg.arg, ... if default is None else value_of(default))
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    if args.kwarg:
        found.append((f"**{args.kwarg.arg}", ...))
    return found


def value_of(node: ast.expr) -> Any:
    """A default's value: a literal, or a constant by its name; else its text."""
    if isinstance(node, ast.Attribute) and hasattr(constants, node.attr):
        return getattr(constants, node.attr)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def declared(tree: ast.Module, prefix: str) -> dict[str, list[tuple[str, Any]]]:
    """Every public function and method of a file, by dotted name."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found[f"{prefix}.{node.name}"] = parameters(node)
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and (
                    inner.name in ("__init__", "__call__") or not inner.name.startswith("_")
                ):
                    name = f"{prefix}.{node.name}.{inner.name}"
                    if name not in found:  # of a property and its setter, the first
                        found[name] = parameters(inner)
    return found


def ours(name: str) -> Any:
    """Our object of that name, None if there is none."""
    for file in FILES:
        if name.startswith(f"{file}."):
            here: Any = importlib.import_module(f"brokersim.fluxapi.{file}")
            for part in name.removeprefix(f"{file}.").split("."):
                here = (
                    inspect.getattr_static(here, part, None)
                    if inspect.isclass(here)
                    else getattr(here, part, None)
                )
                if here is None:
                    return None
            return here
    return None


def our_parameters(found: Any) -> list[tuple[str, Any]]:
    if isinstance(found, property):
        found = found.fget
    elif inspect.isdatadescriptor(found):
        return [("self", ...)]
    if isinstance(found, (classmethod, staticmethod)):
        found = found.__func__
    signs = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        (
            signs.get(parameter.kind, "") + name,
            ... if parameter.default is inspect.Parameter.empty else parameter.default,
        )
        for name, parameter in inspect.signature(found).parameters.items()
    ]


def is_excepted(name: str) -> bool:
    return any(name == entry or name.startswith(f"{entry}.") for entry in DIFFERENT)


def same_default(theirs: Any, mine: Any) -> bool:
    return theirs == mine or (isinstance(theirs, str) and theirs == "os.getuid()" and isinstance(mine, int))


@pytest.mark.parametrize("file", FILES)
def test_names_parameters_and_defaults_are_fluxs(wheel: zipfile.ZipFile, file: str) -> None:
    source = wheel.read(f"flux/{file.replace('.', '/')}.py")
    wrong = []
    for name, theirs in declared(ast.parse(source), file).items():
        if is_excepted(name):
            continue
        found = ours(name)
        if found is None:
            wrong.append(f"{name}: missing")
            continue
        mine = our_parameters(found)
        alike = len(mine) == len(theirs) and all(
            one[0] == other[0] and same_default(one[1], other[1])
            for one, other in zip(theirs, mine, strict=True)
        )
        if not alike:
            wrong.append(f"{name}:\n    Flux {theirs}\n    here {mine}")
    assert not wrong, "\n".join(wrong)


def test_every_exception_still_names_something_of_fluxs(wheel: zipfile.ZipFile) -> None:
    for entry in DIFFERENT:
        file = next(file for file in FILES if entry.startswith(f"{file}."))
        names = entry.removeprefix(f"{file}.").split(".")
        tree: Any = ast.parse(wheel.read(f"flux/{file.replace('.', '/')}.py"))
        for name in names:
            tree = next((node for node in tree.body if getattr(node, "name", None) == name), None)
            assert tree is not None, f"{entry}: no such name in flux-python {VERSION}"


def numbers(header: str) -> dict[str, int]:
    """``NAME = number`` and ``#define NAME number`` of the C header the bindings are made from."""
    found = re.findall(r"(?:#define\s+)?\b(FLUX_[A-Z0-9_]+)\s*(?:=\s*|\s)(0x[0-9a-fA-F]+|\d+)\b", header)
    return {name: int(text, 0) for name, text in found}


def test_constants_are_fluxs_all_that_modules_use_with_its_values(wheel: zipfile.ZipFile) -> None:
    header = next(name for name in wheel.namelist() if name.endswith("_core_clean.h"))
    theirs = numbers(wheel.read(header).decode())
    mine = {name: getattr(constants, name) for name in constants.__all__}
    # Defined there by another constant or by the order of an enumeration, not by a number.
    derived = {"FLUX_JOB_URGENCY_HOLD", "FLUX_JOB_URGENCY_EXPEDITE"}
    assert {name: theirs.get(name) for name in mine if name not in derived} == {
        name: value for name, value in mine.items() if name not in derived
    }
    ours_not = {name for name in theirs if name not in mine and not name.startswith("FLUX_CORE_VERSION")}
    assert ours_not == {"FLUX_JOB_NR_STATES"}
