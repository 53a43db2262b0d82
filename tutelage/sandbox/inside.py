"""The sandbox from inside: namespaces, a root folder of its own, limits, a supervisor.

`run_python` starts this file as a script: launcher -> supervisor (process 1 of new namespaces) -> program. The kernel
kills all processes of a pid namespace when its process 1 ends; the supervisor ends when the launcher does. It imports
only what starts fast: every run pays for it.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import resource
import struct
import sys
import time

NOBODY = 65534
MAX_PROCESSES, MAX_FILES = 32, 128  # threads count as processes
DISK_MIB = 64  # of the working folder, and of a file
POLL_SECONDS = 0.02
_SIGINT, _SIGKILL, _SIGXCPU = 2, 9, 24

# linux/sched.h, sys/mount.h, linux/prctl.h, linux/mount.h
_NEW_NS, _NEW_UTS, _NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x20000, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30
_NAMESPACES = _NEW_NS | _NEW_UTS | _NEW_IPC | _NEW_PID | _NEW_NET
_READ_ONLY, _NOSUID, _NODEV, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 1, 2, 4, 1 << 12, 1 << 14, 1 << 18, 2
_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 1 << 15

# System calls that namespaces and limits do not cover: sockets of kinds that no namespace holds (vsock), memory that is
# nobody's (memfd, System V), the kernel's keys and log, and large parts of the kernel that programs do not need:
# socket shmget msgget ptrace memfd_create memfd_secret add_key request_key keyctl perf_event_open bpf userfaultfd
# io_uring_setup syslog, in this order. By processor: its AUDIT_ARCH, and the numbers.
_DENIED = {
    "x86_64": (0xC000003E, (41, 29, 68, 101, 319, 447, 248, 249, 250, 298, 321, 323, 425, 103)),
    "aarch64": (0xC00000B7, (198, 194, 186, 117, 279, 447, 217, 218, 219, 241, 280, 282, 425, 116)),
}


def libc(function: str, *arguments: object) -> None:
    """Calls a function of the C library. Raises OSError with the function's name."""
    if getattr(ctypes.CDLL(None, use_errno=True), function)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), function)


def end_with_parent() -> None:
    """Has the kernel kill this process when its parent ends. A later change of user takes that back."""
    if sys.platform == "linux":
        libc("prctl", _PDEATHSIG, _SIGKILL, 0, 0, 0)


def write(path: str, text: str, folder: int | None = None) -> None:
    """Writes a file; a relative path starts at the folder of that descriptor."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder), "w", encoding="utf-8") as file:
        file.write(text)


def enter_user_namespace(proc: int, others: int = 0) -> None:
    """Becomes the one, ordinary user of a new user namespace, and enters other namespaces with it. The process has all
    rights in there until its next exec. `proc` is a descriptor of /proc."""
    user, group = os.geteuid(), os.getegid()
    libc("unshare", _NEW_USER | others)
    write("self/setgroups", "deny", proc)
    write("self/uid_map", f"{NOBODY} {user} 1", proc)
    write("self/gid_map", f"{NOBODY} {group} 1", proc)


def write_program(root: str, code: str) -> None:
    """The program, an empty folder to work in, and a virtual environment, so that no installed package is found."""
    os.makedirs(f"{root}/venv/bin")
    os.symlink(sys.executable, f"{root}/venv/bin/python")
    home = os.path.dirname(sys.executable)
    write(f"{root}/venv/pyvenv.cfg", f"home = {home}\ninclude-system-site-packages = false\n")
    write(f"{root}/program.py", code)
    os.mkdir(f"{root}/tmp")


def visible_paths() -> list[str]:
    """What Python needs to start: its folders, the libraries of the system, and devices."""
    prefixes = {sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.dirname(sys.executable))}
    folders = {"/usr", "/lib", "/lib64", "/nix/store", "/gnu/store", *map(os.path.realpath, prefixes)} - {"/"}
    outer = [path for path in sorted(folders) if not any(path.startswith(f"{other}/") for other in folders)]
    return [*outer, "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]


def change_root(code: str) -> int:
    """Changes to a root folder in memory with the program, what Python needs, and nothing else; only /tmp is writable.

    Returns a descriptor of a /proc that the program does not see. The order of the mounts is that of bubblewrap.
    """
    libc("mount", None, b"/", None, _RECURSIVE | _PRIVATE, None)
    libc("mount", b"tmpfs", b"/tmp", b"tmpfs", _NOSUID | _NODEV, b"size=16m,mode=755")
    os.mkdir("/tmp/old")
    libc("pivot_root", b"/tmp", b"/tmp/old")
    os.chdir("/")
    for path in visible_paths():
        if os.path.islink(f"/old{path}"):  # /lib -> usr/lib
            os.symlink(os.readlink(f"/old{path}"), path)
        elif os.path.exists(f"/old{path}"):
            os.makedirs(path if os.path.isdir(f"/old{path}") else os.path.dirname(path), exist_ok=True)
            if not os.path.isdir(path):
                write(path, "")
            libc("mount", f"/old{path}".encode(), path.encode(), None, _BIND | _RECURSIVE, None)
    write_program("", code)
    os.symlink("/tmp", "/dev/shm")
    os.mkdir("/proc")
    libc("mount", b"proc", b"/proc", b"proc", _NOSUID | _NODEV, None)
    proc = os.open("/proc", os.O_RDONLY)
    libc("umount2", b"/proc", _DETACH)
    libc("umount2", b"/old", _DETACH)
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY | _NOSUID)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    libc("syscall", _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, size)
    libc("mount", b"tmpfs", b"/tmp", b"tmpfs", _NOSUID | _NODEV, f"size={DISK_MIB}m,nr_inodes=4096,mode=777".encode())
    return proc


def isolate(code: str) -> int:
    """Continues as process 1 of new namespaces, without any right outside them; returns a descriptor of their /proc.
    The process that called waits until all processes in them have ended, and exits."""
    if os.uname().machine not in _DENIED:
        raise OSError(errno.ENOSYS, f"no list of system calls for {os.uname().machine}", "seccomp")
    proc = os.open("/proc", os.O_RDONLY)
    with open("/proc/self/uid_map", encoding="ascii") as file:
        is_root = os.geteuid() == 0 and file.read().split() == ["0", "0", "4294967295"]
    if is_root:
        libc("unshare", _NAMESPACES)
    else:
        enter_user_namespace(proc, _NAMESPACES)
    end_with_parent()
    if supervisor := os.fork():
        os.waitpid(supervisor, 0)
        os._exit(0)
    libc("sethostname", b"sandbox", 7)
    proc = change_root(code)
    if is_root:  # root until here: the interpreter may lie where only root may look
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        libc("prctl", _DUMPABLE, 1, 0, 0, 0)  # gives the files of /proc/self to the new user
        enter_user_namespace(proc)
    write("sys/user/max_user_namespaces", "0", proc)  # in a nested one the program would have all rights
    libc("prctl", _DUMPABLE, 0, 0, 0, 0)  # the program is the same user, and must not trace its supervisor
    end_with_parent()
    return proc


def deny_system_calls() -> None:
    """Has the kernel refuse the denied calls of this process and its children, by a filter (seccomp) in BPF; calls of
    another instruction set, such as the 32 bit one, end the process."""
    architecture, numbers = _DENIED[os.uname().machine]
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06  # BPF: code, jump if true, jump if false, value
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (answer, 0, 0, 0x80000000), (load, 0, 0, 0)]
    code += [(at_least, len(numbers) + 1, 0, 1 << 30)]  # x32, numbered apart
    code += [(equal, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    code += [(answer, 0, 0, 0x7FFF0000), (answer, 0, 0, 0x50000 | errno.EPERM)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    header = ctypes.create_string_buffer(struct.pack("HP", len(code), ctypes.addressof(program)))
    libc("prctl", _SECCOMP, 2, header, 0, 0)


def become_program(root: str, seconds: float, memory_mib: int) -> None:
    """Turns a new process into the program, with its limits and the descriptors 0, 1 and 2."""
    limits = {"AS": memory_mib << 20, "CPU": math.ceil(seconds) + 1, "FSIZE": DISK_MIB << 20, "NOFILE": MAX_FILES}
    limits |= {"CORE": 0} if root else {"CORE": 0, "NPROC": MAX_PROCESSES}  # outside it counts all of the user's
    for name, value in limits.items():
        try:  # noqa: SIM105  (contextlib takes 5 ms to import)
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        except (ValueError, OSError):
            pass  # the caller's own limit is lower; macOS has no limit of address space
    end_with_parent()
    if sys.platform == "linux":
        libc("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)
    if not root:
        deny_system_calls()
    os.closerange(3, 65536)
    os.chdir(f"{root}/tmp")
    python = f"{root}/venv/bin/python"
    os.execv(python, [python, "-s", "-P", "-B", "-X", "utf8", f"{root}/program.py"])


def usage(proc: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of all processes of the namespace, without those of process 1 itself."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds, pages = ended.ru_utime + ended.ru_stime, 0
    for name in os.listdir(proc):
        if name.isdecimal() and name != "1":
            try:
                with open(os.open(f"{name}/stat", os.O_RDONLY, dir_fd=proc), "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended
                continue
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            pages += int(fields[21])
    return seconds, pages * os.sysconf("SC_PAGE_SIZE")


def supervise(root: str, seconds: float, wall_seconds: float, memory_mib: int, proc: int | None) -> str:
    """Runs the program until it ends or reaches a limit; returns "status<TAB>reason"."""
    if (program := os.fork()) == 0:
        try:
            become_program(root, seconds, memory_mib)
        finally:
            os._exit(127)
    deadline, pause = time.monotonic() + wall_seconds, 0.002
    while True:
        pid = -1
        while pid:  # the program, or one of its orphans
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
                if code == -_SIGXCPU:
                    return "timed out\tCPU time"
                return f"killed\tsignal {-code}" if code < 0 else f"error\texit status {code}" if code else "ok"
        if time.monotonic() > deadline:
            return f"timed out\t{wall_seconds:g} seconds of wall-clock time"
        cpu, memory = (0.0, 0) if proc is None else usage(proc)
        if cpu > seconds:
            return f"timed out\t{seconds:g} seconds of CPU time"
        if memory > memory_mib << 20:
            return f"killed\tmore than {memory_mib} MiB of memory"
        time.sleep(pause)
        pause = min(1.2 * pause, POLL_SECONDS)


def main(code_fd: int, status_fd: int, root: str, seconds: float, wall_seconds: float, memory_mib: int) -> None:
    """Runs the program that `code_fd` holds, in the folder `root`, or isolated if that is ""."""
    os.umask(0o022)
    ctypes.CDLL(None).signal(
        _SIGINT, None
    )  # process 1 ignores signals of the program, but not where Python handles one
    os.set_inheritable(status_fd, False)
    with open(code_fd, encoding="utf-8") as file:
        code = file.read()
    try:
        proc = None if root else isolate(code)
        if root:
            end_with_parent()
            write_program(root, code)
        verdict = supervise(root, seconds, wall_seconds, memory_mib, proc)
    except OSError as error:
        verdict = f"refused\t{error.filename or 'it'} failed: {error.strerror}"
    os.write(status_fd, verdict.encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6]))
