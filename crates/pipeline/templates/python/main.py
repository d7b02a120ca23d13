"""Kernels whose BTF lies in files: change what you like."""

import btfpipe_plugin as btfpipe


class Files(btfpipe.Source):
    def validate(self, config):
        wanted = config.get("kernels")
        if not isinstance(wanted, dict) or not wanted:
            return [btfpipe.problem("/kernels", "no kernels are named")]
        wrong = [id for id in wanted if id.count("/") != 3]
        return [btfpipe.problem("/kernels", f"{id} is not DISTRO/VERSION/ARCH/RELEASE") for id in wrong]

    def resolve(self, job, config):
        wanted = sorted(config["kernels"].items())
        kernels = []
        for done, (id, path) in enumerate(wanted):
            job.progress(done, len(wanted), "kernels", id)
            kernels.append(btfpipe.kernel(id, [btfpipe.package(path)], path=path))
        return kernels

    def fetch(self, job, kernel):
        return [job.copy(kernel["with"]["path"])]


btfpipe.serve(Files(), name="NAME", version="0.1.0")
