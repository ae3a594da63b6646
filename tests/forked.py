"""A Python that starts at once, for tests of programs: forked from a process that has imported torch and lamp already.

A new Python takes seconds to import them. `Server` is a process that has imported them. `Server.python` stands in
command lines in the place of `sys.executable`, before `-c CODE`, `-m MODULE` or a file, and its arguments. The program
has the arguments, environment, folder and streams that it is started with, and ends as in a Python of its own: threads
are waited for, streams are flushed, and exit status and signals are passed on.

What a Python settles when it starts is that of the server: locale, encodings other than PYTHONIOENCODING, warnings,
the seed of `hash`, what is imported, threads of other libraries than torch. Tests of imports, of memory, of a process's
number and of closed streams start `sys.executable`.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LONGEST = 2**17  # bytes of a request
IMPORTED = (
    *("torch", "lamp.public", "lamp.tables", "lamp.tables.train", "lamp.tables.evaluate", "lamp.tables.figures"),
    *("lamp.cli", "lamp.cli.show_tables", "lamp.training.compiled", "lamp.training.prefetching"),
    *("lamp.compiler.compiled", "lamp.compiler.kernel_builder", "lamp.compiler.backends.cpu.code"),
    *("matplotlib.figure", "matplotlib.layout_engine", "matplotlib.backends.backend_agg"),
)


class Server:
    """The process that programs are forked from. It listens at `path`, and ends with whoever has started it."""

    def __init__(self, path: str, environment: dict[str, str] | None = None) -> None:
        self.python, self.process = [sys.executable], None
        if sys.platform != "linux":  # other systems lack such sockets, and start a Python of its own
            return
        self.python += ["-I", "-S", os.path.abspath(__file__), path]
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from tests import forked; forked.serve({path!r})"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"ready\n"

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.communicate()


def serve(path: str) -> None:
    """Fork a child for each connection, until stdin is closed. In a child this returns when its program ends."""
    from importlib import import_module

    for name in IMPORTED:
        import_module(name)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    os.write(1, b"ready\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while listener.fileno() in select.select([listener.fileno(), 0], [], [])[0]:
        connection = listener.accept()[0]
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _serve_one(connection)
            return
        connection.close()


def _serve_one(connection: socket.socket) -> None:
    """Run the program that a client asks for in a child; tell the client the child's number and how it ended."""
    asked, streams, _, _ = socket.recv_fds(connection, LONGEST, 3)
    child = os.fork()
    if child:
        connection.send(b"%d" % child)
        for stream in streams:
            os.close(stream)
        for number in range(3):
            os.close(number)
        connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
    connection.close()
    arguments, folder, environment = json.loads(asked)
    wanted, _, errors = dict(environment).get("PYTHONIOENCODING", "").partition(":")
    for number, (stream, mode) in enumerate(zip(streams, "rww", strict=True)):
        os.dup2(stream, number)
        os.close(stream)
        name = ("stdin", "stdout", "stderr")[number]
        before = getattr(sys, name)
        buffering = 1 if name == "stderr" else -1
        encoding = wanted or before.encoding, (errors or "strict") if wanted and number < 2 else before.errors
        now = open(number, mode, buffering, *encoding, closefd=False)  # noqa: SIM115
        setattr(sys, name, now)
        setattr(sys, f"__{name}__", now)
    os.chdir(_text(folder))
    os.environ.clear()
    os.environ.update({_text(name): _text(value) for name, value in environment})
    _run(*map(_text, arguments))


def _run(what: str, *arguments: str) -> None:
    """Run a program as `python WHAT ARGUMENTS` would."""
    import runpy
    import types

    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    if what == "-c":
        sys.path[0], sys.argv = "", ["-c", *arguments[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[0], "<string>", "exec"), vars(main))
    elif what == "-m":
        sys.path[0], sys.argv = os.getcwd(), list(arguments)
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(what), [what, *arguments]
        runpy.run_path(what, run_name="__main__")


def _bytes(text: str) -> str:
    """A text of the system, such as an argument, with one letter for each of its bytes."""
    return os.fsencode(text).decode("latin-1")


def _text(of_bytes: str) -> str:
    """The text of the system that these bytes are."""
    return os.fsdecode(of_bytes.encode("latin-1"))


def _ask(path: str, *arguments: str) -> None:
    """The client: asks the server at `path` for a program, passes signals on to it, and ends as it ends."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)
    environment = [[_bytes(name), _bytes(value)] for name, value in os.environ.items()]
    asked = [list(map(_bytes, arguments)), _bytes(os.getcwd()), environment]
    socket.send_fds(connection, [json.dumps(asked).encode()], [0, 1, 2])
    child = int(connection.recv(32))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(child, number))
    for stream in range(3):
        os.close(stream)  # what is written to them ends when the child ends, and who reads them is the child's reader
    code = int(connection.recv(32))
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    _ask(*sys.argv[1:])
