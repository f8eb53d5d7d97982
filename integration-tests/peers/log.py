"""Logs with the real eCAL, and receives the log of all programs.

Reads commands from standard input, a line each, and ends with it:
  log LEVEL TEXT   logs TEXT; LEVEL is a name as `warning` or `debug4`
  take             tells what came since the last `take`, in `logs`
"""

import argparse
import sys

import common


def main():
    """Runs it."""
    parser = argparse.ArgumentParser()
    common.add_system(parser, "ecal_log")
    parser.set_defaults(log_levels="[all]", receive_logs="true")
    args = parser.parse_args()

    ecal = common.initialize(args)
    common.emit("ready")
    for line in sys.stdin:
        command, _, rest = line.strip().partition(" ")
        if command == "log":
            level, _, text = rest.partition(" ")
            ecal.logging.log(getattr(ecal.logging.LogLevel, level.upper()), text)
            common.emit("logged")
        elif command == "take":
            rows = [
                {
                    "time_us": row.time,
                    "host": row.host_name,
                    "pid": row.process_id,
                    "process_name": row.process_name,
                    "unit": row.unit_name,
                    "level": str(row.level).rpartition(".")[2].lower(),
                    "text": row.content,
                }
                for row in ecal.logging.get_logging() or []
            ]
            common.emit("logs", rows=rows)
        else:
            sys.exit(f"unknown command {line!r}")
    common.emit("done")
    common.leave()


main()
