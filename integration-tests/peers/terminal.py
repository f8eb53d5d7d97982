"""Runs a program on a terminal of its own: `terminal.py COLUMNS PROGRAM [ARGUMENTS]`.

A line of standard input is text to type, with Python's escapes; the line `close` closes the terminal. Tells what the program
shows on standard error, and its exit code. Its standard output is this one's.
"""

import ast
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import threading


def main():
    """Runs the program."""
    columns, command = int(sys.argv[1]), sys.argv[2:]
    terminal, own = pty.openpty()
    fcntl.ioctl(own, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = os.fork()
    if child == 0:
        os.setsid()
        # What runs the tests may ignore it, as `nohup` does; a terminal's shell does not.
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(own, termios.TIOCSCTTY, 0)
        os.dup2(own, 0)
        os.dup2(own, 2)
        os.execv(command[0], command)
    os.close(own)

    closed, close = os.pipe()

    def type_lines():
        for line in sys.stdin:
            if line.strip() == "close":
                os.close(close)
            else:
                os.write(terminal, ast.literal_eval(line).encode())

    threading.Thread(target=type_lines, daemon=True).start()
    while True:
        if closed in select.select([terminal, closed], [], [])[0]:
            os.close(terminal)
            break
        try:
            shown = os.read(terminal, 65536)
        except OSError:
            break
        if not shown:
            break
        print(json.dumps({"event": "shown", "text": shown.decode("utf-8", "replace")}), flush=True)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"event": "ended", "code": os.waitstatus_to_exitcode(status)}), flush=True)


main()
