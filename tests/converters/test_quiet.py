import os
import threading
import time

from mobile_sr.converters.quiet import quiet, say


def quiet_thread():
    """A started thread that has entered `quiet` and leaves it soon."""
    entered = threading.Event()

    def work():
        with quiet():
            entered.set()
            time.sleep(0.2)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(10)
    return thread


def test_threads_give_the_descriptors_back(capfd):
    thread = quiet_thread()
    with quiet():
        thread.join()
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_what_is_said_meanwhile_is_not_lost(capfd):
    thread = quiet_thread()
    with open(1, "w", closefd=False) as stdout:
        say("kept", stdout)
    thread.join()
    assert capfd.readouterr().out == "kept\n"


def test_what_is_printed_is_returned(capfd):
    with quiet() as said:
        os.write(2, b"from C++")
        assert said() == "from C++"
    assert capfd.readouterr() == ("", "")
