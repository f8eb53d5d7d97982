#!/usr/bin/env python3
"""Writes the blocks of a README as a crate: snippets.py README FOLDER.

- `toml` blocks are its Cargo.toml. The folder `ferrocal` in it is that of the README.
- A block whose first line is a comment with a path, as `// build.rs`, is that file.
- Each other `rust` block is a program in src/bin, with a `main` around it if it has none.
- Each `sh` block that runs Python is a script in scripts.
"""

import pathlib
import re
import sys

MAIN = "fn main() -> Result<(), Box<dyn std::error::Error>> {{\n{}Ok(())\n}}\n"


def main():
    """Writes the crate."""
    readme, folder = map(pathlib.Path, sys.argv[1:])
    manifest = '[package]\nname = "snippets"\nedition = "2024"\n\n'
    files = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", readme.read_text("utf-8"), re.M | re.S):
        if language == "toml":
            manifest += block
        elif path := re.match(r"// (\S+\.\w+)\n", block):
            files[path[1]] = block
        elif language == "rust":
            source = block if "fn main" in block else MAIN.format(block)
            files[f"src/bin/snippet_{len(files) + 1}.rs"] = source
        elif language == "sh" and "python -c" in block:
            files[f"scripts/{len(files) + 1}.sh"] = block
    if not files:
        sys.exit(f"{readme} has no block of Rust")
    manifest = manifest.replace('"ferrocal/', f'"{readme.resolve().parent}/')
    for name, text in {"Cargo.toml": manifest, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


main()
