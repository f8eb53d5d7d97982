#!/usr/bin/env python3
"""Runs the commands of the guide's pages on tools, and takes pictures of their screens: screens.py FERROCAL FOLDER [AT_ONCE].

FERROCAL is the executable, and FOLDER is where the pictures (SVG) go. AT_ONCE says how many are taken at a time; on a busy
computer, they show that it is busy. Needs root or user namespaces, tmux, and the package
rich. Nothing that is sent can leave: two hosts, `robot` and `laptop`, are namespaces that a cable joins. They see other folders at /home and /usr/local/bin, so that no picture
shows paths of the computer.

In a page of docs/src/tools,

- a picture is `![COMMAND](../pictures/NAME.svg)`. SCENES says how it is taken: by the same command, in a terminal of its own.
- each line of an `sh` block that calls `ferrocal` is run. What does not end by itself is ended as by Ctrl-C. It must end with
  0, or with 3, which depends on the computer; a comment `# exit code N` says otherwise.

Pictures hold rates and times, so that two of them are never the same: it is only checked that all can be taken.
"""

import concurrent.futures
import contextlib
import dataclasses
import io
import json
import math
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs/src/tools"
# No wait is longer; it only ends a hang.
HANG = 60
# How long a command runs that does not end by itself.
WHILE = 4
ADDRESSES = {"robot": "192.168.7.1", "laptop": "192.168.7.2"}
HOME = "/home/robin"
MOUNTS = {"home": "/home", "bin": "/usr/local/bin"}


@dataclasses.dataclass
class Scene:
    """How a picture is taken."""

    command: str
    # The text that the screen has when the picture is taken. None: when the command has ended.
    until: str | None = None
    size: tuple = (100, 50)
    # What the host `robot` runs beside the publishers.
    beside: str | None = None
    # What the host `laptop` runs before.
    before: str | None = None
    # Whether the program draws on the whole screen.
    is_full: bool = False


SCENES = {
    "list": Scene("ferrocal list -t"),
    "nodes": Scene("ferrocal nodes", size=(120, 50)),
    "info": Scene("ferrocal info pose"),
    "desc": Scene("ferrocal desc pose"),
    "echo": Scene("ferrocal echo pose --info --count 2", size=(140, 50)),
    "hz": Scene("ferrocal hz pose --count 5"),
    "delay": Scene("ferrocal delay pose --count 5"),
    "pub": Scene(
        """ferrocal pub goal '{"x": 2.5, "frame": "map"}' --type robots.Pose --wait 1 --count 3""",
        beside="exec ferrocal echo goal",
    ),
    "monitor": Scene("ferrocal monitor", until=r"out [1-9](.*\n)+.*camera +pub +[1-9](.*\n)+.*status +pub +[1-9]", size=(100, 24), is_full=True),
    "monitor-topic": Scene(
        "ferrocal monitor pose", until=r"out [1-9](.*\n)+.*rate +[1-9].*size +[1-9](.*\n)+.* frame", size=(100, 30), is_full=True
    ),
    "monitor-traffic": Scene(
        "ferrocal monitor --tab traffic", until=r"\(all hosts\) +[1-9]\d\d kB", size=(100, 24), is_full=True
    ),
    "record": Scene("ferrocal record -o drive.mcap", until=r"rec 00:0[23].* 3 topics"),
    "play": Scene("ferrocal play drive.mcap", until=r"play  00:01", size=(100, 12)),
    "rec-info": Scene("ferrocal rec-info drive.mcap"),
    "doctor": Scene("ferrocal doctor", before="ip route del 239.0.0.0/8 dev lan0"),
    "doctor-call": Scene("ferrocal doctor --call", beside="exec ferrocal doctor --listen"),
    "traffic": Scene("ferrocal traffic --count 2"),
    "logs": Scene(
        "ferrocal logs --level warning --count 2",
        beside="while ferrocal logs --level warning --send 'the battery is low'; do sleep 1; done",
    ),
    "config": Scene("ferrocal config --set"),
}


def main():
    """Checks the pages, runs what is on them, and takes the pictures."""
    ferrocal, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    at_once = int(sys.argv[3]) if len(sys.argv) > 3 else len(SCENES) + 2
    commands = [] if os.environ.get("BOOT") else read_pages()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ferrocal-screens-") as scratch:
        scratch = pathlib.Path(scratch)
        start = Start(ferrocal, scratch)
        start.files()
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            # Meanwhile, what needs the recording is not begun.
            recorded = pool.submit(start.record)
            scenes = sorted(SCENES.items(), key=lambda scene: "drive.mcap" in scene[1].command)
            jobs = [pool.submit(take, start, name, scene, folder, recorded) for name, scene in scenes]
            jobs += [pool.submit(run_commands, start, commands, recorded)]
            problems = [problem for job in jobs for problem in job.result()]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(SCENES)} pictures, and {len(commands)} commands of {PAGES.relative_to(ROOT)}")


def read_pages():
    """Returns the commands of the pages with their places. Checks that pictures and scenes are the same."""
    commands, seen = [], set()
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        for command, name in re.findall(r"!\[([^]]*)\]\(\.\./pictures/([\w-]+)\.svg\)", text):
            seen.add(name)
            if name not in SCENES or SCENES[name].command != command:
                sys.exit(f"{page.relative_to(ROOT)}: ci/screens.py takes no picture {name} of `{command}`")
        for block in re.finditer(r"^```sh\n(.*?)^```", text, re.M | re.S):
            number = text.count("\n", 0, block.start(1)) + 1
            for line in block[1].splitlines():
                if re.search(r"\bferrocal ", line) and not line.startswith("cargo "):
                    commands.append((f"{page.relative_to(ROOT)}:{number}", line))
                number += 1
    pictures = {path.stem for path in (ROOT / "docs/src/pictures").glob("*.svg")}
    if not seen == set(SCENES) == pictures:
        odd = sorted((seen | set(SCENES) | pictures) - (seen & set(SCENES) & pictures))
        sys.exit(f"not a picture, on a page and in ci/screens.py: {', '.join(odd)}; ./ci.sh pictures takes them")
    return commands


class Start:
    """What starts programs on hosts of their own, with the same files each."""

    def __init__(self, ferrocal, scratch):
        self.scratch = scratch
        # The folder of the user `robin`, as it is outside of the hosts.
        self.home = scratch / "home/robin"
        (scratch / "bin").mkdir()
        shutil.copy(ferrocal, scratch / "bin/ferrocal")
        self.environment = {
            "PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin",
            "HOME": "/home/robin",
            "LC_ALL": "C.UTF-8",
            "SHELL": "/bin/sh",
        }

    def files(self):
        """Writes what the commands read."""
        (self.home / ".ecal").mkdir(parents=True)
        (self.home / ".ecal/ecal.yaml").write_text("communication_mode: network\n")
        (self.home / "camera.jpg").write_bytes(bytes(index * index % 251 for index in range(60_000)))
        # FileDescriptorSet { file { name, package, message_type { name, field { name, number, label, type } }, syntax } }
        fields = [("frame", 9), ("x", 1), ("y", 1), ("heading", 1)]
        message = text(1, "Pose") + b"".join(
            part(2, text(1, name) + number(3, index) + number(4, 1) + number(5, kind))
            for index, (name, kind) in enumerate(fields, 1)
        )
        file = text(1, "robots/pose.proto") + text(2, "robots") + part(4, message) + text(12, "proto3")
        (self.home / "robots.bin").write_bytes(part(1, file))
        shutil.copy(ROOT / "cli/tests/data/measurement-6.0.hdf5", self.home / "measurement.hdf5")
        with open(self.home / "poses.ndjson", "w", encoding="utf-8") as lines:
            for step in range(10_000):
                angle = step / 100
                pose = {"frame": "map", "x": 4 * math.cos(angle), "y": 3 * math.sin(angle), "heading": angle}
                lines.write(json.dumps(pose) + "\n")

    def record(self):
        """Makes the recording, and a capture file of it."""
        inside, outside = self.copy("recording")
        with self.world() as world:
            world.run("laptop", ["ferrocal", "record", "-o", "drive.mcap", "--duration", "4"], inside, check=True)
            world.run("laptop", ["ferrocal", "convert", "drive.mcap", "drive.pcap"], inside, check=True)
        for name in ("drive.mcap", "drive.pcap"):
            (outside / name).rename(self.home / name)

    @contextlib.contextmanager
    def world(self):
        """Two hosts with publishers, and a subscriber."""
        world = World(self)
        try:
            world.start()
            yield world
        finally:
            world.end()

    def copy(self, name):
        """Makes a folder with the files. Returns how it is called on the hosts, and outside of them."""
        folder = self.scratch / "home" / name
        shutil.copytree(self.home, folder)
        return f"/home/{name}", folder


class World:
    """Two hosts."""

    def __init__(self, start):
        self.environment, self.scratch = start.environment, start.scratch
        self.processes, self.holders = [], {}

    def start(self):
        """Makes the hosts, joins them and starts what runs on them."""
        options = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        mounts = [f"mount --bind {self.scratch}/{name} {place}" for name, place in MOUNTS.items()]
        script = " && ".join([*mounts, "hostname robot", "echo", "exec cat"])
        self.hold("robot", ["unshare", *options, "--mount", "--net", "--uts", "sh", "-c", script])
        laptop = "hostname laptop && echo && exec cat"
        self.hold("laptop", self.inside("robot", ["unshare", "--net", "--uts", "sh", "-c", laptop]))
        pid = self.holders["laptop"].pid
        self.ip("robot", f"link add lan0 type veth peer name lan0 netns {pid}")
        for host, address in ADDRESSES.items():
            self.ip(host, f"addr add {address}/24 dev lan0")
            for line in ("set lo up", "set lo multicast on", "set lan0 up"):
                self.ip(host, f"link {line}")
            self.ip(host, "route add 239.0.0.0/8 dev lan0")
        self.shell("robot", "exec ferrocal pub pose --stdin --type robots.Pose --descriptor robots.bin --rate 50 <poses.ndjson")
        self.shell("robot", "exec ferrocal pub camera --file camera.jpg --type image/jpeg --rate 10")
        self.shell("robot", """exec ferrocal pub status --encoding json '{"battery": 0.83}' --rate 2""")
        self.shell("laptop", "exec ferrocal echo pose --json")
        self.shell("laptop", "exec ferrocal bw camera")

    def hold(self, host, command):
        """Starts the process that is the host, and waits until it is."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment)
        self.holders[host] = process
        if not process.stdout.readline():
            sys.exit("namespaces cannot be made here")

    def inside(self, host, command, folder=HOME):
        """A command that runs another one on a host."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        target = ["--target", str(self.holders[host].pid)]
        return ["nsenter", *target, *user, "--mount", "--net", "--uts", "--", "env", "-C", folder, *command]

    def ip(self, host, arguments):
        """Runs ip(8)."""
        subprocess.run(self.inside(host, ["ip", *arguments.split()]), check=True, env=self.environment)

    def run(self, host, command, folder, check=False):
        """Runs a command to its end."""
        return subprocess.run(
            self.inside(host, command, folder), env=self.environment, check=check, timeout=HANG,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def shell(self, host, line, folder=HOME, output=subprocess.DEVNULL):
        """Starts a line of shell, in a process group of its own."""
        process = subprocess.Popen(
            self.inside(host, ["sh", "-c", line], folder), env=self.environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
        self.processes.append(process)
        return process

    def end(self):
        """Ends all that was started."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for process in self.holders.values():
            process.stdin.close()
            process.stdout.close()
            process.wait()


def run_commands(start, commands, recorded):
    """Runs the commands of the pages at once. Returns what is wrong."""
    problems = []
    recorded.result()
    with start.world() as world:
        world.shell("robot", "while ferrocal logs --level warning --send 'the battery is low'; do sleep 1; done")
        world.shell("robot", "exec ferrocal doctor --listen")
        running = []
        for index, (place, line) in enumerate(commands):
            output = open(start.scratch / f"output-{index}", "w+", encoding="utf-8")
            # The shell is to end as the command does.
            process = world.shell("laptop", f"trap : INT; {line}", start.copy(f"command-{index}")[0], output)
            running.append((place, line, process, output))
        start_time = time.monotonic()
        for place, line, process, output in running:
            # A doctor ends by itself, and has no result before.
            limit = HANG if line.startswith("ferrocal doctor") else WHILE
            try:
                process.wait(max(start_time + limit - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)
        for place, line, process, output in running:
            try:
                code = process.wait(HANG)
            except subprocess.TimeoutExpired:
                code = "none"
            with output:
                output.seek(0)
                expected = re.search(r"# exit code (\d+)", line)
                if line.startswith("ferrocal monitor"):
                    # There is no terminal, which it says. Pictures have one.
                    is_right = code == 2
                else:
                    is_right = code in ((int(expected[1]),) if expected else (0, 3))
                if not is_right:
                    problems.append(f"{place}: `{line}` ended with {code}:\n{output.read()[-1000:]}")
    return problems


def take(start, name, scene, folder, recorded):
    """Takes a picture. Returns what is wrong."""
    if "drive.mcap" in scene.command and name != "record":
        recorded.result()
    home, outside = start.copy(name)
    if name == "record":
        # The recording may be here already.
        (outside / "drive.mcap").unlink(missing_ok=True)
    with start.world() as world:
        if scene.beside:
            world.shell("robot", scene.beside)
        if scene.before:
            world.run("laptop", ["sh", "-c", scene.before], home, check=True)
        # For the publishers to be matched, and to register rates.
        time.sleep(3)
        width, height = scene.size
        line = f"{scene.command}; echo ended $? >ended; exec cat"
        if not scene.is_full:
            line = f"printf '%s\\n' {shlex.quote('$ ' + scene.command)}; {line}"
        tmux = ["tmux", "-u", "-S", f"{home}/socket", "-f", "/dev/null"]
        session = [*tmux, "new-session", "-d", "-x", str(width), "-y", str(height), "sh", "-c", line]
        world.run("laptop", session, home, check=True)
        try:
            deadline = time.monotonic() + HANG
            while True:
                plain = world.run("laptop", [*tmux, "capture-pane", "-p"], home, check=True).stdout
                has_ended = (outside / "ended").exists()
                if re.search(scene.until, plain) if scene.until else has_ended:
                    break
                if has_ended or time.monotonic() > deadline:
                    return [f"{name}: the screen of `{scene.command}` never had {scene.until}:\n{plain}"]
                time.sleep(0.1)
            if not scene.until and (code := (outside / "ended").read_text()) not in ("ended 0\n", "ended 3\n"):
                return [f"{name}: `{scene.command}` {code}{plain}"]
            screen = world.run("laptop", [*tmux, "capture-pane", "-p", "-e"], home, check=True).stdout
        finally:
            world.run("laptop", [*tmux, "kill-server"], home)
    if not scene.is_full:
        screen = screen.rstrip("\n")
    (folder / f"{name}.svg").write_text(picture(screen, width, scene.command), "utf-8")
    return []


# Without fonts of a server: a page that is read offline has the same.
SVG = """<svg viewBox="0 0 {terminal_width} {terminal_height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: DejaVu Sans Mono, ui-monospace, Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect fill="#292929" width="{terminal_width}" height="{terminal_height}" rx="8"/>
<g transform="translate(9, 9)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def picture(screen, width, title):
    """What a terminal shows, as SVG."""
    import rich.console
    import rich.text

    console = rich.console.Console(record=True, width=width, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    lines = rich.text.Text.from_ansi(screen, no_wrap=True, end="")
    console.print(lines, soft_wrap=True)
    svg = console.export_svg(title=title, code_format=SVG, unique_id="t")
    return re.sub(r"[ \t]+$", "", svg, flags=re.M)


def varint(value):
    """A number, as protobuf writes it."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def number(field, value):
    """A field of protobuf that is a number."""
    return varint(field << 3) + varint(value)


def part(field, value):
    """A field of protobuf that is a message."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def text(field, value):
    """A field of protobuf that is a text."""
    return part(field, value.encode())


if __name__ == "__main__":
    main()
