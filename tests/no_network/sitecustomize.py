"""Imported by Python at its start where this folder is on PYTHONPATH: nothing but this computer is reached.

The process ends at once, so that no `except` can hide the attempt.
"""

import os
import socket
import sys

STATUS = 86
LOCAL = ("127.0.0.1", "::1", "localhost", "", None)
_connect, _getaddrinfo = socket.socket.connect, socket.getaddrinfo


def _check(host: object) -> None:
    if host not in LOCAL:
        sys.stderr.write(f"network touched: {host}\n")
        sys.stderr.flush()
        os._exit(STATUS)


def _guarded_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _check(address[0])
    return _connect(self, address)


def _guarded_getaddrinfo(host, *args, **kwargs):
    _check(host.decode() if isinstance(host, bytes) else host)
    return _getaddrinfo(host, *args, **kwargs)


socket.socket.connect = _guarded_connect
socket.getaddrinfo = _guarded_getaddrinfo
