"""Subscribes with the real eCAL and checks every message: `sub.py --mode local hello image --count 10`.

Tells `complete` once COUNT messages came on every topic. Tells, in `totals` when it reads the line `totals`, and in
`done` at the end of standard input, per topic and publisher what was received, what of it was not the ramp's message of
that clock, and the gaps in the publisher's clock. The line `drop` ends the subscriptions.
"""

import argparse
import sys
import threading

import common


class Totals:
    """Everything received so far."""

    def __init__(self, topics, count, each):
        self._lock = threading.Lock()
        self._ramp = common.Ramp(1 << 20)
        self._open = {topic: count for topic in topics} if count else {}
        self._each = each
        self._rows = {}

    def receive(self, topic, _data_type, data):
        """The receive callback of eCAL's subscribers; `topic` is the publisher's."""
        message = data.buffer
        # A publisher's clock starts at 1, its ramp at message 0.
        intact = self._ramp.is_message(data.send_clock - 1, message)
        identity = topic.topic_id
        with self._lock:
            row = self._rows.setdefault(
                (topic.topic_name, identity.entity_id),
                {
                    "topic": topic.topic_name,
                    "host": common.host_name(identity),
                    "topic_id": str(identity.entity_id),
                    "received": 0,
                    "bytes": 0,
                    "corrupt": 0,
                    "dropped": 0,
                    "first_clock": data.send_clock,
                    "last_clock": data.send_clock - 1,
                    "sizes": [],
                },
            )
            row["received"] += 1
            row["bytes"] += len(message)
            row["corrupt"] += not intact
            row["dropped"] += max(0, data.send_clock - row["last_clock"] - 1)
            row["last_clock"] = data.send_clock
            if len(message) not in row["sizes"]:
                row["sizes"].append(len(message))
            if self._each:
                common.emit(
                    "message",
                    topic=topic.topic_name,
                    topic_id=str(identity.entity_id),
                    clock=data.send_clock,
                    time_us=data.send_timestamp,
                    bytes=len(message),
                    first=message[0] if message else None,
                    intact=intact,
                )
            if topic.topic_name in self._open:
                self._open[topic.topic_name] -= 1
                if self._open[topic.topic_name] == 0:
                    del self._open[topic.topic_name]
                    if not self._open:
                        common.emit("complete")

    def rows(self):
        """The totals as one row per topic and publisher."""
        with self._lock:
            return [dict(row) for row in self._rows.values()]


def main():
    """Runs the subscriber."""
    parser = argparse.ArgumentParser()
    parser.add_argument("topics", nargs="+", metavar="TOPIC")
    common.add_system(parser, "ecal_sub")
    parser.add_argument("--count", type=int, default=0, help="messages per topic until `complete`")
    parser.add_argument("--each", action="store_true", help="one event per message")
    common.add_data_type(parser)
    args = parser.parse_args()

    ecal = common.initialize(args)
    matches = common.Matches(ecal.SubscriberEvent.CONNECTED, ecal.SubscriberEvent.DISCONNECTED)
    totals = Totals(args.topics, args.count, args.each)
    subscribers = []
    for topic in args.topics:
        subscriber = ecal.Subscriber(
            topic, common.data_type(ecal, args), ecal.get_subscriber_configuration(), matches
        )
        subscriber.set_receive_callback(totals.receive)
        subscribers.append(subscriber)
    common.emit("ready")

    for line in sys.stdin:
        if line.strip() == "drop":
            matches.settle()
            del subscriber
            subscribers.clear()
            common.emit("dropped")
        elif line.strip() == "totals":
            common.emit("totals", rows=totals.rows())
        else:
            sys.exit(f"unknown command {line!r}")
    common.emit("done", rows=totals.rows())
    common.leave()


main()
