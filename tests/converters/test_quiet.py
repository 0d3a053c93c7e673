"""Capturing of output, and lines that are printed meanwhile."""

import os
import threading
import time

from mobile_sr.converters.quiet import print_line, quiet


def quiet_thread():
    """A running thread that has entered `quiet` and will leave it soon."""
    entered = threading.Event()

    def work():
        with quiet():
            entered.set()
            time.sleep(0.2)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(10)
    return thread


def test_threads_restore_the_descriptors(capfd):
    thread = quiet_thread()
    with quiet():
        thread.join()
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_a_line_printed_during_quiet_is_not_lost(capfd):
    thread = quiet_thread()
    with open(1, "w", closefd=False) as stdout:
        print_line("kept", stdout)
    thread.join()
    assert capfd.readouterr().out == "kept\n"


def test_captured_text_is_returned(capfd):
    with quiet() as captured:
        os.write(2, b"from C++")
        assert captured() == "from C++"
    assert capfd.readouterr() == ("", "")
