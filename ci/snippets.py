#!/usr/bin/env python3
"""Writes the blocks of README.md and of the guide (docs/) as a workspace, and checks links: snippets.py FOLDER.

README.md is a crate, and all pages of the guide together are one. In a page,

- a `rust` block is a program, with a `main` around it if it has none. It is run, unless it is marked `rust,no_run`.
- `toml` blocks are the dependencies of the crate's Cargo.toml. One may begin without `[dependencies]`. Features of one
  dependency add up. The folder `ferrocal` is that of README.md.
- a block whose first line is a comment with a path, as `// build.rs`, is that file of the crate.
- a `yaml` block is an ecal.yaml, in a folder of its own in `settings`.
- an `sh` block that runs Python is a script in `scripts`.

`programs` lists what is to be run, a line each: the program's name, and where it stands.
"""

import json
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
GUIDE = ROOT / "docs/src"
REPOSITORY = "https://github.com/ferrocal/ferrocal/blob/main/"
LANGUAGES = {"rust", "rust,no_run", "toml", "proto", "yaml", "sh", "text"}
MAIN = "fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{}Ok(())\n}}\n"


def main():
    """Checks the pages, and writes the workspace."""
    folder = pathlib.Path(sys.argv[1])
    pages = sorted(GUIDE.rglob("*.md"))
    texts = {page: parse(page) for page in [ROOT / "README.md", *pages]}
    check_links({page: prose for page, (prose, _) in texts.items()})
    check_summary(texts[GUIDE / "SUMMARY.md"][0], pages)
    files = {"Cargo.toml": '[workspace]\nmembers = ["readme", "guide"]\nresolver = "3"\n[profile.dev]\ndebug = false\n'}
    programs = []
    crate("readme", [(ROOT / "README.md", texts.pop(ROOT / "README.md")[1])], files, programs)
    crate("guide", [(page, blocks) for page, (_, blocks) in texts.items()], files, programs)
    files["programs"] = "".join(f"{program} {place}\n" for program, place in programs)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def parse(page):
    """Splits a page into its prose, and its blocks: the line before each, its language and its text."""
    prose, blocks, block = [], [], None
    for number, line in enumerate(page.read_text("utf-8").splitlines(keepends=True), 1):
        place = f"{page.relative_to(ROOT)}:{number}"
        fence = re.match(r"\s*(```|~~~)(.*)", line)
        if block is not None and line.rstrip("\n") == "```":
            block = None
        elif block is not None:
            block[2] += line
        elif fence and (line.startswith(" ") or fence[1] == "~~~" or fence[2] not in LANGUAGES):
            sys.exit(f"{place}: a block starts with ``` and one of {', '.join(sorted(LANGUAGES))}")
        elif fence:
            block = [number, fence[2], ""]
            blocks.append(block)
        elif re.match(r"\t| {4}", line):
            sys.exit(f"{place}: the line is indented as code is, which nothing would compile")
        else:
            prose.append(line)
    if block is not None:
        sys.exit(f"{page.relative_to(ROOT)}:{block[0]}: the block has no end")
    return "".join(prose), blocks


def crate(name, pages, files, programs):
    """Adds the files of a crate, and its programs."""
    dependencies = {}

    def add(file, text):
        if file in files:
            sys.exit(f"{file} is there twice")
        files[file] = text

    for page, blocks in pages:
        for line, language, text in blocks:
            place, key = f"{page.relative_to(ROOT)}:{line}", f"{name}_{page.stem}_{line}".lower().replace("-", "_")
            path = re.match(r"// (\S+\.\w+)\n", text)
            program = None
            if language == "toml":
                text = text if text.startswith("[") else f"[dependencies]\n{text}"
                merge(tomllib.loads(text), dependencies, place)
            elif language == "proto" or language.startswith("rust") and path:
                file = path[1] if path else ""
                program = program_of(file, language, name, place)
                add(f"{name}/{file}", text)
            elif language.startswith("rust"):
                program = key
                add(f"{name}/src/bin/{key}.rs", text if "fn main" in text else MAIN.format(text))
            elif language == "yaml":
                add(f"settings/{key}/ecal.yaml", text)
            elif language == "sh" and "python -c" in text:
                add(f"scripts/{key}.sh", text)
            if program and language == "rust":
                programs.append((program, place))
    lines = ["[package]", f'name = "{name}"', 'edition = "2024"']
    for section, specs in dependencies.items():
        lines += [f"[{section}]"]
        for dependency, spec in specs.items():
            values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in spec.items())
            lines.append(f"{dependency} = {{ {values} }}")
    files[f"{name}/Cargo.toml"] = "\n".join(lines).replace('"ferrocal/', f'"{ROOT}/')


def program_of(path, language, crate_name, place):
    """Returns the name of the program that a file is, if it is one. Refuses a file that nothing compiles."""
    if path.endswith(".proto") if language == "proto" else path == "build.rs":
        return None
    if language != "proto" and path == "src/main.rs":
        return crate_name
    if language != "proto" and (program := re.fullmatch(r"src/bin/(\w+)\.rs", path)):
        return program[1]
    sys.exit(f"{place}: nothing compiles the file `{path}`")


def merge(manifest, dependencies, place):
    """Adds the dependencies of a block."""
    for section, specs in manifest.items():
        if section not in ("dependencies", "build-dependencies"):
            sys.exit(f"{place}: [{section}] is not for dependencies")
        for name, spec in specs.items():
            spec = {"version": spec} if isinstance(spec, str) else dict(spec)
            features = spec.pop("features", [])
            known = dependencies.setdefault(section, {}).setdefault(name, {**spec, "features": []})
            if spec != {key: value for key, value in known.items() if key != "features"}:
                sys.exit(f"{place}: {name} is another one than before")
            known["features"] += [feature for feature in features if feature not in known["features"]]


def check_links(pages):
    """Checks that what links name is there: files and headings."""
    headings = {page: anchors(prose) for page, prose in pages.items()}
    for page, prose in pages.items():
        included = re.findall(r"\{\{#include ([^}]+)\}\}", prose)
        for link in re.findall(r"\]\(([^)\s]+)\)", prose) + included:
            base = page.parent
            if link.startswith(REPOSITORY):
                base, link = ROOT, link.removeprefix(REPOSITORY)
            elif re.match(r"\w+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (base / path).resolve() if path else page
            if not target.exists():
                sys.exit(f"{page.relative_to(ROOT)}: there is no {link}")
            if anchor and anchor not in headings.get(target, ()):
                sys.exit(f"{page.relative_to(ROOT)}: {link} has no such heading")


def anchors(prose):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose, re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        if anchor in found:
            sys.exit(f"two headings have the anchor #{anchor}")
        found.add(anchor)
    return found


def check_summary(summary, pages):
    """Checks that the guide's table of contents has each page once."""
    listed = re.findall(r"\]\(([^)]+)\)", summary)
    expected = sorted(str(page.relative_to(GUIDE)) for page in pages if page.name != "SUMMARY.md")
    if sorted(listed) != expected:
        sys.exit(f"docs/src/SUMMARY.md lists {sorted(listed)}, and the pages are {expected}")


main()
