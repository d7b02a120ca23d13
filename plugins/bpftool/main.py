"""bpftool's own minimizer in place of btfpipe's."""

import os

import btfpipe_plugin as btfpipe


class Bpftool(btfpipe.Step):
    def transform(self, job, config):
        objects = job.inputs("object")
        if not objects:
            raise btfpipe.Failure.user("no object to minimize for")
        made = os.path.join(job.outdir, "min.btf")
        job.call("bpftool", "gen", "min_core_btf", job.input("btf"), made, *objects)
        ours, theirs = os.path.getsize(job.input("minimized")), os.path.getsize(made)
        if ours != theirs:
            job.log("%s: %d bytes by bpftool, %d by btfpipe" % (job.kernel, theirs, ours), level="debug")
        return [("btf", made)]


btfpipe.serve(Bpftool(), name="bpftool", version="0.1.0")
