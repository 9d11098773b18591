"""The runner of the kind `command`: starts the program in the confined process tree and ends as it ends.

This process stays as the program's parent: it passes on the wish to stop, takes in what the program detaches from itself,
and tells what was left in the output folder. Everything that it starts inherits the limits and the confinement.
"""

from __future__ import annotations

import base64
import ctypes
import os
import resource
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tidegate.core.job import ORIGIN
from tidegate.core.resources import format_bytes
from tidegate.ports import TaskContext
from tidegate.workloads import output
from tidegate.workloads.errors import TaskError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = ("LANG", "LANGUAGE", "TZ", "TIDEGATE_INSTANCE", "TIDEGATE_GENERATION")
"""Variables of the service that a command gets too. By the last two a later server finds what a crash left running."""
_PASSED_PREFIX = "LC_"
_PR_SET_CHILD_SUBREAPER = 36
_SHELL_SIGNAL = 128
"""A shell whose program was ended by signal n exits with this plus n."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class _Program:
    """The running program, as the thread that hears of a stop sees it."""

    group = 0
    stopped = False


def interrupt() -> None:
    """Ask the program and its process group to end. Called in a thread of its own."""
    _Program.stopped = True
    _end_group()


def _end_group() -> None:
    if _Program.group:
        try:
            os.killpg(_Program.group, signal.SIGTERM)
        except ProcessLookupError:
            return


def run(context: TaskContext) -> Mapping[str, Any]:
    """Run the command; answers `exit_code` and the output files.

    Raises TaskError for a program that cannot be started (`program_not_found`, `program_not_executable`, `argv_too_long`) and
    for an exit code other than 0 (`exit_code`, with the code as `observed`). Ends by the signal that ended the program.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    environment = environment_of(context)
    folder = _prepare(context)
    os.chdir(folder)
    status = _wait(_start(context, environment))
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        _end_by(-code, context)
    if code:
        raise _disk_limit(context) if _met_disk_limit(context.staging) else _failed(code)
    os.chdir(context.staging)
    return {"exit_code": 0, **output.gather(context.staging)}


def environment_of(context: TaskContext) -> dict[str, str]:
    """What the program sees: a clean minimum, what describes its task, and the variables of the job."""
    staging, resources = context.staging, context.resources
    passed = {
        name: value for name, value in os.environ.items() if name in PASSED or name.startswith(_PASSED_PREFIX)
    }
    work = os.path.join(staging, "work")
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        **passed,
        "HOME": work,
        "PWD": work,
        "TMPDIR": os.path.join(staging, "tmp"),
        "OMP_NUM_THREADS": str(max(-(-resources.cpu_milli // 1000), 1)),
        "TIDEGATE_JOB_ID": str(context.key.job_id),
        "TIDEGATE_TASK_ID": str(context.key.task),
        "TIDEGATE_ATTEMPT": str(context.key.attempt),
        **_origin(context),
        "TIDEGATE_CPUS": f"{resources.cpu_milli / 1000:g}",
        "TIDEGATE_MEMORY_BYTES": str(resources.memory_bytes),
        "TIDEGATE_OUTPUT_DIR": os.path.join(staging, output.FOLDER),
        **context.spec["env"],
    }


def _origin(context: TaskContext) -> dict[str, str]:
    origin = context.spec.get(ORIGIN, {})
    names = {"user_id": "TIDEGATE_USER_ID", "request_id": "TIDEGATE_REQUEST_ID"}
    names["traceparent"] = "TRACEPARENT"  # as tools for traces look for it
    return {variable: str(origin[name]) for name, variable in names.items() if name in origin}


def _prepare(context: TaskContext) -> str:
    """Make the folders and the files that came with the job; answers the working folder."""
    staging = Path(context.staging)
    for name in ("work", "tmp", output.FOLDER):
        (staging / name).mkdir(exist_ok=True)
    for name, content in context.spec["files"].items():
        path = staging / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
        path.chmod(0o700)
    cwd = context.spec["cwd"] or "."
    if not os.path.isabs(cwd):
        inside = staging / "work" / cwd
        inside.mkdir(parents=True, exist_ok=True)
        return str(inside)
    if not os.path.isdir(cwd):
        raise TaskError(f"The working folder {cwd!r} is not there on this worker.", code="folder_not_found")
    return str(cwd)


def _start(context: TaskContext, environment: dict[str, str]) -> int:
    argv = context.spec["argv"]
    program = _program(argv[0], environment)
    stdin = _stdin(context)
    try:
        # Signals that Python ignores, and the mask of the thread that waits for SIGTERM, must not reach the program.
        pid = os.posix_spawn(
            program,
            argv,
            {**environment, "PWD": os.getcwd()},
            file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0)] if stdin >= 0 else [],
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
        )
    except OSError as error:
        raise _not_started(argv[0], error) from None
    finally:
        if stdin >= 0:
            os.close(stdin)
    _Program.group = pid
    if _Program.stopped:
        _end_group()
    return pid


def _program(name: str, environment: Mapping[str, str]) -> str:
    if os.sep in name:
        return name
    import shutil  # noqa: PLC0415  here only: in the zygote its compressors would be mappings for every fork to copy

    found = shutil.which(name, path=environment.get("PATH") or os.defpath)
    if found is None:
        raise TaskError(
            f"There is no program {name!r} in {environment.get('PATH')!r}. Give its path, or send it along by `files`.",
            code="program_not_found",
        )
    return found


def _stdin(context: TaskContext) -> int:
    """A descriptor of the text to read, in a file without a name; -1 where the program reads nothing."""
    text = context.spec["stdin"]
    if text is None:
        return -1
    fd = os.open(context.staging, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _not_started(name: str, error: OSError) -> TaskError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        missing = os.path.exists(name)
        why = "the interpreter that its first line names is not there" if missing else "it is not there"
        return TaskError(
            f"The program {name!r} cannot be started: {why}. A command begins in its own folder: send the program along "
            "by `files`, or name its folder by `cwd`.",
            code="program_not_found",
        )
    if isinstance(error, PermissionError):
        return TaskError(
            f"The program {name!r} cannot be started: it is not executable, or lies where this job may not run programs.",
            code="program_not_executable",
        )
    codes = {"Exec format error": "program_not_executable", "Argument list too long": "argv_too_long"}
    code = codes.get(error.strerror or "", "program_not_started")
    hint = " A script needs a first line such as `#!/bin/sh`." if "format" in (error.strerror or "") else ""
    return TaskError(f"The program {name!r} cannot be started: {error.strerror}.{hint}", code=code)


def _wait(program: int) -> int:
    """The wait status of the program. Orphans that come here are taken in, so that none stays as a zombie.

    After a stop the others get the rest of the grace as well: whoever ends this process ends them all.
    """
    ended, status = 0, 0
    while ended != program:
        ended, status = os.waitpid(-1, 0)
    while _Program.stopped:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return status


def _failed(code: int) -> TaskError:
    hint = ""
    if code in (126, 127):
        hint = " Shells say so when a program is not executable (126) or not found (127)."
    elif code > _SHELL_SIGNAL:
        try:
            name = signal.Signals(code - _SHELL_SIGNAL).name
            hint = f" Shells say so when a program was ended by {name}."
        except ValueError:
            pass
    return TaskError(
        f"The command ended with exit code {code}.{hint}", code="exit_code", numbers={"observed": code}
    )


def _met_disk_limit(staging: str) -> bool:
    """Whether a file is as large as any may be: who wanted more of it was ended by SIGXFSZ, or was refused."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return False
    return any(_size(os.path.join(at, name)) >= limit for at, _, names in os.walk(staging) for name in names)


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _disk_limit(context: TaskContext) -> TaskError:
    return TaskError(
        f"A file grew beyond the job's {format_bytes(context.resources.disk_bytes)} of scratch disk. Ask for more with "
        "`disk`.",
        code="disk_limit",
        reason="disk_limit",
    )


def _end_by(number: int, context: TaskContext) -> NoReturn:
    """End as the program did, so that whoever judges the end sees the same signal."""
    if number == signal.SIGXFSZ:
        raise _disk_limit(context)
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    # To this thread: another one waits for SIGTERM and would take it.
    signal.pthread_kill(threading.get_ident(), number)
    os._exit(_SHELL_SIGNAL + number)  # a signal that ends nothing by default: real-time ones of some kernels


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
