"""A server of a service with the real eCAL, and a client of it: `service.py --mode local NAME`. Ends with its input."""

import argparse
import sys

import common


def main():
    """Runs both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    common.add_system(parser, "ecal_service")
    args = parser.parse_args()

    ecal = common.initialize(args)
    server = ecal.ServiceServer(args.name)
    method = ecal.ServiceMethodInformation()
    method.method_name = "echo"
    server.set_method_callback(method, lambda _, request: (0, request))
    client = ecal.ServiceClient(args.name)
    common.emit("ready", service=server.get_service_name(), client=client.get_service_name())
    sys.stdin.read()
    common.leave()


main()
