"""Where the members that programs read lie in each kernel, as a table: one row a kernel, one column a member."""

import csv
import fnmatch
import html
import json
import os
import tarfile

import btfpipe_plugin as btfpipe

FORMATS = ("html", "csv")


class Offsets(btfpipe.Step):
    def validate(self, config):
        members = config.get("members", ["*"])
        if not isinstance(members, list) or not all(isinstance(word, str) and word for word in members):
            return [btfpipe.problem("/members", "the members are no list of texts")]
        for number, word in enumerate(config.get("formats", [])):
            if word not in FORMATS:
                return [btfpipe.problem("/formats/%d" % number, "`%s` is neither html nor csv" % word)]
        return []

    def verify(self, job, config):
        patterns, made = config.get("members", ["*"]), []
        packages = [one for one in job.run.get("inputs", []) if one["name"].endswith(".tar")]
        for number, package in enumerate(packages):
            job.progress(number, len(packages), "packages", package["name"])
            kernels = read(package["path"])
            columns = sorted({member for _, offsets in kernels for member in offsets})
            columns = [name for name in columns if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
            if not columns:
                raise btfpipe.Failure.user(
                    "no program of %s reads any of the members" % package["name"], at="/members"
                )
            name = package["name"][: -len(".tar")]
            for word in config.get("formats", FORMATS):
                path = os.path.join(job.outdir, "%s-offsets.%s" % (name, word))
                {"csv": write_csv, "html": write_html}[word](path, name, columns, kernels)
                made.append(path)
        return made


def read(path):
    """Each kernel's id with what its records say: offset in bytes by member, or why there is none."""
    kernels, known = [], {}
    with tarfile.open(path) as tar:
        index = json.load(tar.extractfile("index.json"))
        for kernel in index["kernels"]:
            digest = kernel["records"]["sha256"]
            if digest not in known:
                known[digest] = offsets_of(tar.extractfile("records/%s.jsonl" % digest))
            id = "/".join(kernel[part] for part in ("distro", "version", "arch", "release"))
            kernels.append((id, known[digest]))
    return kernels


def offsets_of(records):
    offsets = {}
    for line in records:
        record = json.loads(line)
        local, target = record.get("local"), record.get("target")
        if record.get("kind") != "byte_off" or not local:
            continue
        found = record["outcome"] == "relocated" and target
        offsets[local["spec"]] = target["offset"] if found else record["outcome"]
    return offsets


def write_csv(path, name, columns, kernels):
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["kernel", *columns])
        for id, offsets in kernels:
            table.writerow([id, *(offsets.get(column, "") for column in columns)])


STYLE = """body { font: 14px sans-serif } table { border-collapse: collapse }
th, td { border: 1px solid #ccc; padding: 2px 6px; text-align: right } th { background: #eee }
td:first-child { text-align: left; white-space: nowrap } .new { background: #fe8 } .word { color: #a00 }"""


def write_html(path, name, columns, kernels):
    """What is not as in the row above is marked."""
    title = "Offsets of members: %s" % html.escape(name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("<!doctype html>\n<meta charset=utf-8>\n<title>%s</title>\n" % title)
        file.write("<style>\n%s\n</style>\n<h1>%s</h1>\n<table>\n<tr><th>kernel" % (STYLE, title))
        file.write("".join("<th>%s" % html.escape(column) for column in columns) + "\n")
        before = kernels[0][1]
        for id, offsets in kernels:
            file.write("<tr><td>%s" % html.escape(id))
            for column in columns:
                value = offsets.get(column, "")
                marks = ["new"] * (value != before.get(column, "")) + ["word"] * isinstance(value, str)
                file.write('<td class="%s">%s' % (" ".join(marks), value))
            file.write("\n")
            before = offsets
        file.write("</table>\n")


btfpipe.serve(Offsets(), name="offsets", version="0.1.0")
