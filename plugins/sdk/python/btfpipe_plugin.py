"""Plugins of btfpipe in Python: this one file, Python 3.8 or newer, and nothing else.

Copy it beside your program, name it under `runtime` in plugin.yaml, and write:

    import btfpipe_plugin as btfpipe

    class Mine(btfpipe.Source):
        def resolve(self, job, config):
            return [btfpipe.kernel("debian/12/x86_64/6.1.0-50-amd64", [btfpipe.package(path)])]

        def fetch(self, job, kernel):
            return [job.copy(path)]

    btfpipe.serve(Mine(), name="mine", version="0.1.0")

A plugin that does another step has a method of the step's name:

    class Mine(btfpipe.Step):
        def build(self, job, config):
            job.reads([source, header])
            return [("object", path)]

The protocol is described in docs/plugins.md.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

PROTOCOL = 1
STEPS = ("build", "transform", "package", "verify", "publish")


class Failure(Exception):
    """Why there is no result: `raise Failure.user("no such suite", help="try bookworm", at="/suites/0")`."""

    def __init__(self, kind, message, help=None, at=None):
        super().__init__(message)
        self.kind, self.message, self.help, self.at = kind, message, help, at

    @classmethod
    def user(cls, message, help=None, at=None):
        """The configuration or an input is wrong."""
        return cls("user", message, help, at)

    @classmethod
    def tool(cls, message, help=None, at=None):
        """The plugin or a program that it uses failed."""
        return cls("tool", message, help, at)

    @classmethod
    def transient(cls, message, help=None, at=None):
        """It may work when it is tried again."""
        return cls("transient", message, help, at)

    @classmethod
    def gone(cls, message, help=None, at=None):
        """What was locked is no longer to be had."""
        return cls("gone", message, help, at)


class Source:
    """A source of kernels: what a plugin overrides."""

    def validate(self, config):
        """What is wrong with a configuration beyond its schema: a list of `problem(…)`."""
        return []

    def resolve(self, job, config):
        """Which kernels a configuration asks for: a list of `kernel(…)`."""
        raise NotImplementedError

    def fetch(self, job, kernel):
        """Brings exactly a kernel's packages into `job.outdir`: a list of their paths."""
        raise NotImplementedError


class Step:
    """What a plugin overrides that is no source: `build`, `transform`, `package`, `verify` or `publish`, each with
    a job and the configuration, and a list of outputs as its result: paths, or pairs of a name and a path."""

    def validate(self, config):
        """What is wrong with a configuration beyond its schema: a list of `problem(…)`."""
        return []


class Job:
    """One action: where it works, and who hears of it."""

    def __init__(self, run, out):
        self.run, self._out, self._reads = run, out, None
        self.workdir, self.outdir, self.tmpdir = run["workdir"], run["outdir"], run["tmpdir"]
        # `x86_64` or `arm64`, and DISTRO/VERSION/ARCH/RELEASE, where the action is about one.
        self.arch, self.kernel = run.get("arch"), (run.get("kernel") or {}).get("id")
        # Seen again by later actions; only with `write: cache` in plugin.yaml.
        self.cachedir = run.get("cachedir") or self.tmpdir

    def inputs(self, name=None):
        """The paths of all inputs, or of those with this name, in the host's order."""
        return [one["path"] for one in self.run.get("inputs", []) if name in (None, one["name"])]

    def input(self, name):
        """The path of the one input with this name."""
        for path in self.inputs(name):
            return path
        raise Failure.user('no input "%s"' % name)

    def reads(self, paths):
        """Says what the output of `build` depends on; without it, that is all inputs."""
        self._reads = sorted(set(map(os.path.abspath, paths)))

    def call(self, *command, **options):
        """Runs a program and gives what it wrote; one that fails is a failure with its last words."""
        options.setdefault("stdin", subprocess.DEVNULL)
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        except OSError as error:
            raise Failure.tool("%s: %s" % (command[0], error.strerror)) from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip() or "no word"
            raise Failure.tool("%s ended with %d: %s" % (command[0], done.returncode, said))
        return done

    def progress(self, done, total=None, unit="", message=""):
        """Says how far the action is."""
        self._send("progress", done=done, total=total, unit=unit, message=message)

    def log(self, message, level="info"):
        """Writes a line to the step's log: debug, info, warn or error."""
        self._send("log", level=level, message=message)

    def copy(self, path, name=None):
        """Copies a file into the output folder; gives its path there."""
        target = os.path.join(self.outdir, name or os.path.basename(path))
        try:
            shutil.copyfile(path, target)
        except OSError as error:
            raise Failure.gone("%s can't be read: %s" % (path, error.strerror)) from error
        return target

    def _send(self, type, **fields):
        _send(self._out, {"type": type, "id": self.run["id"], **fields})


def kernel(id, packages, **texts):
    """A kernel `DISTRO/VERSION/ARCH/RELEASE`; `texts` come back to `fetch` under `with`."""
    return {"id": id, "packages": packages, "with": texts}


def package(path, name=None, version="", arch=""):
    """A package that is a file of this machine."""
    try:
        with open(path, "rb") as file:
            digest, size = hashlib.sha256(), 0
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise Failure.user("%s can't be read: %s" % (path, error.strerror)) from error
    file = os.path.basename(path)
    return {
        "name": name or file,
        "version": version,
        "arch": arch,
        "file": file,
        "sha256": digest.hexdigest(),
        "size": size,
    }


def problem(path, message, help=None):
    """What is wrong with a configuration at a JSON pointer."""
    return {"path": path, "message": message, **({"help": help} if help else {})}


def serve(source, name, version):
    """Speaks with btfpipe until it says goodbye."""
    # What is printed by accident goes to the log, and never between the messages.
    out, sys.stdout = sys.stdout, sys.stderr
    out.reconfigure(encoding="utf-8")
    sys.stdin.reconfigure(encoding="utf-8")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    for line in sys.stdin:
        message = json.loads(line)
        type = message.get("type")
        if type == "hello":
            if PROTOCOL not in message["protocols"]:
                sys.exit("%s %s speaks protocol %d only" % (name, version, PROTOCOL))
            me = {"name": name, "version": version}
            features = ["progress", "validate", "worker"]
            _send(out, {"type": "hello", "protocol": PROTOCOL, "plugin": me, "features": features})
        elif type == "validate":
            problems = _problems(source, message.get("config"))
            _send(out, {"type": "invalid", "id": message["id"], "problems": problems})
        elif type == "run":
            begin = time.perf_counter()
            result = _result(source, Job(message, out))
            busy = {"metrics": {"busy_us": int((time.perf_counter() - begin) * 1e6)}}
            _send(out, {"type": "result", "id": message["id"], **result, **busy})
        elif type == "shutdown":
            return


def _problems(source, config):
    if not isinstance(config, dict):
        return [problem("", "the configuration is no mapping")]
    return source.validate(config)


def _result(source, job):
    try:
        # A worker has been elsewhere before.
        os.chdir(job.workdir)
        os.environ["HOME"] = os.environ["TMPDIR"] = tempfile.tempdir = job.tmpdir
        return {"status": "ok", **_act(source, job, job.run["step"], job.run.get("config"))}
    except Failure as failure:
        fields = {"class": failure.kind, "message": failure.message, "help": failure.help}
        at = {"at": {"path": failure.at}} if failure.at is not None else {}
        return {"status": "error", **fields, **at}
    except Exception as error:
        traceback.print_exc()
        return {"status": "error", "class": "tool", "message": "%s: %s" % (type(error).__name__, error)}


def _act(source, job, step, config):
    if isinstance(source, Step):
        return _do(source, job, step, config)
    if step not in ("resolve", "fetch"):
        raise Failure.user('no step "%s"' % step, help='a source does "resolve" and "fetch"')
    problems = _problems(source, config) if step == "resolve" else []
    for found in problems:
        raise Failure.user(found["message"], help=found.get("help"), at=found["path"])
    if step == "resolve":
        return {"kernels": source.resolve(job, config)}
    if not isinstance(config, dict) or "kernel" not in config:
        raise Failure.user('no "kernel" to fetch', at="/kernel")
    paths = source.fetch(job, config["kernel"])
    return {"outputs": [{"name": os.path.basename(path), "path": path} for path in paths]}


def _do(plugin, job, step, config):
    act = getattr(plugin, step, None) if step in STEPS else None
    if act is None:
        known = [name for name in STEPS if hasattr(plugin, name)]
        raise Failure.user('no step "%s"' % step, help="this plugin does %s" % ", ".join(known))
    for found in _problems(plugin, config):
        raise Failure.user(found["message"], help=found.get("help"), at=found["path"])
    outputs = [one if isinstance(one, tuple) else (os.path.basename(one), one) for one in act(job, config)]
    reads = {} if job._reads is None else {"reads": job._reads}
    return {"outputs": [{"name": name, "path": path} for name, path in outputs], **reads}


def _send(out, message):
    try:
        out.write(json.dumps(message) + "\n")
        out.flush()
    except BrokenPipeError:
        # The host is gone, and nobody needs it.
        os._exit(1)
