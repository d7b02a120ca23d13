"""Compiles BPF programs with clang: the same bytes in whatever folder they stand."""

import functools
import os
import re
import shutil
import subprocess

import btfpipe_plugin as btfpipe

# The first that knows bpf_core_type_matches, and the newest that is looked for.
TYPE_MATCHES, NEWEST = 15, 21
TARGETS = {"x86_64": ("x86", "x86_64"), "arm64": ("arm64", "aarch64")}


class Clang(btfpipe.Step):
    def validate(self, config):
        flags = config.get("flags", [])
        if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
            return [btfpipe.problem("/flags", "the flags are no list of texts")]
        # What decides where things go is the plugin's.
        taken = [n for n, flag in enumerate(flags) if re.match(r"-o|-M|-c$|-target|--target|@", flag)]
        return [btfpipe.problem("/flags/%d" % n, "`%s` is for the plugin to say" % flags[n]) for n in taken]

    def build(self, job, config):
        source = job.input("source")
        if job.arch not in TARGETS:
            raise btfpipe.Failure.user("no architecture that programs are compiled for: %s" % job.arch)
        clang, major = find_clang(config.get("clang"))
        folder, name = os.path.split(source)
        made, makefile = os.path.join(job.outdir, name + ".o"), os.path.join(job.tmpdir, "d")
        command = [clang, *arguments(job, config, major, folder), "-c", "-MD", "-MF", makefile, "-o", made]
        path = {"PATH": os.environ.get("PATH", ""), "TMPDIR": job.tmpdir, "LC_ALL": "C"}
        # A name that begins with - is no option.
        command.append("./" + name if name.startswith("-") else name)
        done = subprocess.run(command, cwd=folder, env=path, stdin=subprocess.DEVNULL, capture_output=True)
        said = done.stderr.decode("utf-8", "replace").strip()
        if done.returncode != 0:
            raise btfpipe.Failure.tool("clang can't compile %s:\n%s" % (name, said))
        for line in said.splitlines():
            job.log("%s: %s" % (name, line), level="warn")
        with open(makefile, encoding="utf-8") as file:
            job.reads(os.path.join(folder, path) for path in dependencies(file.read()))
        return [("object", made)]


def arguments(job, config, major, folder):
    """The same as btfpipe's own, then what the configuration adds."""
    macro, machine = TARGETS[job.arch]
    # v2 is what every kernel since 4.14 verifies; both architectures are little-endian.
    words = ["--no-default-config"] if major >= 16 else []
    words += ["-target", "bpfel", "-mcpu=v2", "-O2", "-g", "-Wall", "-ffile-compilation-dir=."]
    words += ["-D__TARGET_ARCH_" + macro]
    for number, path in enumerate(config.get("include", [])):
        words += included("-I", os.path.normpath(os.path.join(folder, path)), "include%d" % number)
    if job.inputs("btf"):
        words += included("-I", header_of(job), "vmlinux")
    for name in (machine, os.uname().machine):
        system = "/usr/include/%s-linux-gnu" % name
        if not os.path.isfile("/usr/include/asm/types.h") and os.path.isfile(system + "/asm/types.h"):
            words += included("-idirafter", system, "/usr/include")
            break
    return words + config.get("flags", [])


def included(option, folder, name):
    return [option, folder, "-ffile-prefix-map=%s=%s" % (folder, name)]


def header_of(job):
    """The folder with vmlinux.h of the kernel whose BTF is given."""
    folder = os.path.join(job.tmpdir, "vmlinux")
    os.makedirs(folder)
    text = job.call("bpftool", "btf", "dump", "file", job.input("btf"), "format", "c").stdout
    with open(os.path.join(folder, "vmlinux.h"), "wb") as file:
        file.write(text)
    return folder


@functools.lru_cache(maxsize=None)
def find_clang(wanted):
    """The path and the major number, as btfpipe itself chooses; a worker asks once."""
    newest_first = ["clang-%d" % major for major in range(NEWEST, TYPE_MATCHES - 1, -1)]
    old = None
    for name in [wanted] if wanted else ["clang", *newest_first]:
        path = shutil.which(name)
        major = path and major_of(path)
        if major and (wanted or major >= TYPE_MATCHES):
            return path, major
        old = old or (path and major and (path, major))
    if old:
        return old
    raise btfpipe.Failure.tool("no %s on PATH" % (wanted or "clang"), help="install the Debian package clang-19")


def major_of(path):
    said = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True).stdout
    found = re.search(rb"clang version (\d+)", said)
    return int(found.group(1)) if found else None


def dependencies(makefile):
    """The paths of a rule as clang writes it: blanks and # have \\ before them, a dollar is doubled."""
    rule = makefile.replace("\\\n", " ").split(": ", 1)[1]
    words = re.findall(r"(?:\\.|\$\$|[^\s\\]|\\)+", rule)
    return [re.sub(r"\\([ #])", r"\1", word).replace("$$", "$") for word in words]


btfpipe.serve(Clang(), name="clang", version="0.1.0")
