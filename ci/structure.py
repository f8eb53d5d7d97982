#!/usr/bin/env python3
"""Checks that imports inside a crate point one way: structure.py [CRATE_FOLDER...]; without any, those of ORDER.

A room is a module right below the root of a crate, with all that is in its folder. A room may import from rooms of the
rows below its own, and from those of its own row if that makes no circle. Tests may import anything.
"""

import pathlib
import re
import sys
import tempfile

# From the top to the bottom. A crate's own items in `lib.rs` are the room `lib`.
ORDER = {
    "pubsub": [
        "node publisher subscriber subscription server client message monitor capture",
        "core",
        "logging service",
        "registry delivery",
        "layer",
        "wire",
        "feed payload sending shutdown source stats status thread wall_clock",
        "wakers",
        "error",
        "config",
        "resolver",
        "connection descriptors outage per_process shown",
        "lib",
    ],
    "transport": [
        "select fuzzing",
        "raw replay memory socket",
        "membership sync",
        "seam",
        "config",
        "frame drops poll status",
        "selector",
        "backend error",
        "lib",
    ],
}

TOKEN = re.compile(
    r"""//[^\n]* | /\*.*?\*/                                      # comments
    | b?r(\#*)".*?"\1 | b?"(?:\\.|[^"\\])*"                       # strings
    | b?'(?:\\[^']+|[^'\\\n])'                                    # characters, but no lifetimes
    | \#!?\[ | :: | \w+ | \n | \S""",
    re.VERBOSE | re.DOTALL,
)


class Source:
    """The tokens of a file without comments and literals, each with its line."""

    def __init__(self, text):
        self.tokens = []
        self.at = 0
        line = 1
        for match in TOKEN.finditer(text):
            token = match[0]
            if token != "\n" and not re.match(r"""//|/\*|b?r?\#*"|b?'.""", token):
                self.tokens.append((token, line))
            line += token.count("\n")

    def peek(self, ahead=0):
        return self.tokens[self.at + ahead][0] if self.at + ahead < len(self.tokens) else ""

    def line(self):
        return self.tokens[min(self.at, len(self.tokens) - 1)][1]

    def next(self):
        self.at += 1
        return self.peek(-1)

    def skip_group(self):
        """Skips up to the end of the brackets that open here."""
        depth = 0
        while self.at < len(self.tokens):
            token = self.next()
            depth += token in ("(", "[", "{", "#[", "#![")
            depth -= token in (")", "]", "}")
            if depth == 0:
                return

    def skip_item(self):
        """Skips an item: up to the semicolon or the end of the braces that it ends with."""
        while self.at < len(self.tokens):
            if self.peek() in ("(", "[", "#["):
                self.skip_group()
            elif self.peek() == "{":
                return self.skip_group()
            elif self.next() == ";":
                return None
        return None

    def use_tree(self, path):
        """Reads what a `use` names: a list of paths, each with its line and the name it is known by."""
        if self.peek() == "{":
            paths = []
            self.next()
            while self.peek() not in ("}", ""):
                paths += self.use_tree(path)
                if self.peek() == ",":
                    self.next()
            self.next()
            return paths
        line, name = self.line(), self.next()
        if self.peek() == "::":
            self.next()
            return self.use_tree(path + [name])
        path = path + [name] if name != "self" or not path else path
        name = path[-1]
        if self.peek() == "as":
            self.next()
            name = self.next()
        return [(path, line, name)]


def references(text, module):
    """Yields every path in `crate` that a file names outside tests: as a list of names, with its line.

    `module` is the path of the file's own module. Behind each path is the name that it is imported by, if it is.
    """
    source = Source(text)
    # The module that each open brace belongs to.
    modules = [module]
    is_public = False
    while source.peek():
        token = source.peek()
        if token in ("#[", "#!["):
            start = source.at
            source.skip_group()
            attribute = "".join(token for token, _ in source.tokens[start : source.at])
            if re.match(r"#!?\[cfg\((all\()?test\b", attribute):
                if token == "#![":
                    return
                source.skip_item()
        elif token == "pub":
            source.next()
            if source.peek() == "(":
                source.skip_group()
            is_public = True
            continue
        elif token == "use":
            source.next()
            for path, line, name in source.use_tree([]):
                path = absolute(path, modules[-1])
                if path is not None:
                    yield path, line, name, is_public
        elif token == "mod" and source.peek(2) == "{":
            source.next()
            modules.append(modules[-1] + [source.next()])
            source.next()
        elif token in ("crate", "super") and source.peek(1) == "::":
            line, path = source.line(), [source.next()]
            while source.peek() == "::":
                source.next()
                if re.match(r"\w", source.peek()):
                    path.append(source.next())
            yield absolute(path, modules[-1]), line, None, False
        else:
            source.next()
            if token == "{":
                modules.append(modules[-1])
            elif token == "}" and len(modules) > 1:
                modules.pop()
        is_public = False


def absolute(path, module):
    """Returns a path from the crate's root, or None if it is not one into this crate."""
    if path[0] == "crate":
        return path[1:]
    if path[0] == "super":
        ups = next((at for at, name in enumerate(path) if name != "super"), len(path))
        return module[: len(module) - ups] + path[ups:]
    # At the root, a path may start with a room.
    return path if not module else None


def arrows(src):
    """Returns the imports between rooms: {(from, to): ["file:line", ...]}, the rooms, and what is wrong."""
    files = sorted(src.rglob("*.rs"))
    rooms = {file.relative_to(src).parts[0].removesuffix(".rs") for file in files} - {"lib", "main"}
    test_modules, exports, found, faults = set(), {}, {}, []
    for file in files:
        for name in re.findall(r"#\[cfg\((?:all\()?test\b[^\n]*\n\s*(?:pub[^\n]* )?mod (\w+);", file.read_text()):
            folder = file.parent if file.stem in ("lib", "mod") else file.with_suffix("")
            test_modules |= {folder / f"{name}.rs", folder / name}
    lib = src / "lib.rs"
    for path, line, name, is_public in references(lib.read_text(), []):
        if path and path[0] in rooms:
            if name == "*":
                faults.append(f"{lib}:{line}: please name what is exported of {path[0]}")
            elif name:
                exports[name] = path[0]
            if not is_public:
                found.setdefault(("lib", path[0]), []).append(f"{lib}:{line}")
    for file in files:
        if file == lib or test_modules.intersection([file, *file.parents]):
            continue
        parts = list(file.relative_to(src).with_suffix("").parts)
        room = parts[0]
        for path, line, *_ in references(file.read_text(), parts[:-1] if parts[-1] == "mod" else parts):
            name = path[0] if path else "*"
            if name == "*":
                faults.append(f"{file}:{line}: please name what is imported of the crate's root")
                continue
            target = name if name in rooms else exports.get(name, "lib")
            if target != room:
                found.setdefault((room, target), []).append(f"{file}:{line}")
    return found, rooms, faults


def circle(found):
    """Returns the rooms of a circle, or None."""
    targets = {}
    for start, end in found:
        targets.setdefault(start, []).append(end)
    done = set()

    def visit(room, way):
        if room in way:
            return way[way.index(room) :] + [room]
        if room not in done:
            for target in sorted(targets.get(room, [])):
                if (ring := visit(target, way + [room])) is not None:
                    return ring
            done.add(room)
        return None

    return next((ring for room in sorted(targets) if (ring := visit(room, [])) is not None), None)


def check(src, order):
    """Returns what is wrong with the imports of a crate, a line each."""
    rows = {room: row for row, rooms in enumerate(order) for room in rooms.split()}
    found, rooms, faults = arrows(src)
    faults += [f"{src}/{room}: no row of ORDER in {sys.argv[0]} has it" for room in sorted(rooms - rows.keys())]
    for (start, end), places in sorted(found.items()):
        if start in rows and end in rows and rows[end] < rows[start]:
            faults += [f"{place}: {start} imports from {end}, which is above it" for place in places]
    if (ring := circle(found)) is not None:
        faults.append(f"{src}: a circle of imports: {' -> '.join(ring)}")
        faults += [f"    {start} -> {end}: {', '.join(found[start, end])}" for start, end in zip(ring, ring[1:])]
    return faults


def test_itself():
    """Checks small crates whose faults are known."""
    order = ["top side", "low", "lib"]
    clean = {
        "lib.rs": "mod low; mod side; mod top;\npub use low::Low;\nconst LIMIT: usize = 1;",
        "top.rs": "use crate::{Low, LIMIT, side::{self, Side as S}};\n#[cfg(test)]\nmod tests { use super::*; }",
        "side.rs": "pub struct Side;\nfn f(c: char) { let _ = c == '\"'; } // crate::top::Top",
        "low/mod.rs": 'mod deep;\n#[cfg(test)]\nmod tests;\nconst TEXT: &str = "crate::top";',
        "low/deep.rs": "use super::Low;\npub(in crate::low) fn f<'a>() {}\n#[cfg(test)]\nuse crate::top::Top;",
        "low/tests.rs": "use crate::top::Top;",
    }
    broken = [
        ({}, []),
        ({"low/deep.rs": "\nuse crate::top::Top;"}, ["low/deep.rs:2", "circle"]),
        ({"low/deep.rs": "use super::super::{Low, side::Side};"}, ["low/deep.rs:1"]),
        ({"low/deep.rs": "fn f() {\n    crate::side::f();\n}"}, ["low/deep.rs:2"]),
        ({"side.rs": "mod inner { use super::super::top::Top; }"}, ["circle", "side -> top"]),
        ({"low/deep.rs": "use crate::*;"}, ["low/deep.rs:1"]),
        ({"attic.rs": ""}, ["attic"]),
        ({"lib.rs": "mod low;\nuse low::Low;\nfn f(_: Low) {}"}, ["lib.rs:2"]),
    ]
    for changes, expected in broken:
        with tempfile.TemporaryDirectory() as folder:
            src = pathlib.Path(folder)
            for name, text in {**clean, **changes}.items():
                (src / name).parent.mkdir(exist_ok=True)
                (src / name).write_text(text)
            faults = "\n".join(check(src, order))
        if any(part not in faults for part in expected) or bool(faults) != bool(expected):
            sys.exit(f"{sys.argv[0]} is broken: for {changes} it says:\n{faults}")


def main():
    test_itself()
    faults = []
    for crate in sys.argv[1:] or ORDER:
        faults += check(pathlib.Path(crate) / "src", ORDER[pathlib.Path(crate).name])
    if faults:
        sys.exit("\n".join(faults))


main()
