"""Debian's tempest waits 10 s before each DELETE of a subnet, which adds 20 minutes to its run and
is nothing that a test looks at. That wait, and no other, is left out."""
import sys
import time

_sleep = time.sleep


def sleep(seconds):
    caller = sys._getframe(1).f_code
    if caller.co_name == "delete_subnet" and caller.co_filename.endswith("services/network/subnets_client.py"):
        return
    _sleep(seconds)


time.sleep = sleep
