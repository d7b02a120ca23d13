"""Signs a release with minisign, and checks its signatures."""

import fnmatch
import os

import btfpipe_plugin as btfpipe

SIGNATURE = ".minisig"


class Minisign(btfpipe.Step):
    def validate(self, config):
        if "secret_key" not in config and "public_key" not in config:
            return [btfpipe.problem("", "neither a secret key to sign with nor a public key to check with")]
        path = config.get("secret_key", "/")
        if not isinstance(path, str) or not os.path.isabs(path):
            return [btfpipe.problem("/secret_key", "the path of the secret key is not absolute")]
        comment = config.get("comment", "")
        if not isinstance(comment, str) or "\n" in comment:
            return [btfpipe.problem("/comment", "the comment is not one line")]
        return []

    def publish(self, job, config):
        """Signs; with a public key what was signed is checked at once."""
        key = config.get("secret_key")
        if key is None:
            raise btfpipe.Failure.user("no secret key to sign with", at="/secret_key")
        made = []
        for name, path in chosen(job, config):
            signature = os.path.join(job.outdir, name + SIGNATURE)
            # Without a comment minisign writes the time, and the bytes would be others each time.
            comment = config.get("comment") or "file:" + name
            words = ["-S", "-s", key, "-m", path, "-x", signature, "-t", comment]
            try:
                job.call("minisign", *words)
            except btfpipe.Failure as failure:
                failure.help = "the key must be readable and without a password: minisign -G -W"
                raise
            if "public_key" in config:
                check(job, config["public_key"], name, path, signature)
            made.append(signature)
        return made

    def verify(self, job, config):
        """Checks what is there; what isn't signed is an error."""
        if "public_key" not in config:
            raise btfpipe.Failure.user("no public key to check with", at="/public_key")
        for name, path in chosen(job, config):
            signatures = job.inputs(name + SIGNATURE)
            if not signatures:
                raise btfpipe.Failure.tool("%s has no signature" % name)
            check(job, config["public_key"], name, path, signatures[0])
        return []


def chosen(job, config):
    """The files, by name and path."""
    patterns = config.get("files", ["SHA256SUMS"])
    files = [(one["name"], one["path"]) for one in job.run.get("inputs", [])]
    files = [(name, path) for name, path in files if not name.endswith(SIGNATURE)]
    for number, pattern in enumerate(patterns):
        if not any(fnmatch.fnmatchcase(name, pattern) for name, _ in files):
            raise btfpipe.Failure.user("`%s` is no file of the release" % pattern, at="/files/%d" % number)
    return [one for one in files if any(fnmatch.fnmatchcase(one[0], pattern) for pattern in patterns)]


def check(job, key, name, path, signature):
    how = ["-p", key] if os.path.isabs(key) else ["-P", key]
    try:
        job.call("minisign", "-V", *how, "-m", path, "-x", signature, "-q")
    except btfpipe.Failure as failure:
        raise btfpipe.Failure.tool("the signature of %s is not good: %s" % (name, failure.message)) from failure
    job.log("%s is signed by the key" % name)


btfpipe.serve(Minisign(), name="minisign", version="0.1.0")
