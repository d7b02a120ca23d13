/* find PACK [DISTRO VERSION RELEASE [#BUILD-ID]]: the BTF of a kernel, as a loader would look for it.
 *
 * Without a kernel it is the one that runs. "-" is for what is not known. Prints the answer in the words of
 * readers/lookup.cases; writes the BTF to the file in $BTF, if that is set.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btfpack.h"

static const char *known(const char *word)
{
	return strcmp(word, "-") ? word : NULL;
}

static int write_btf(const struct btfpack *pack, const struct btfpack_hit *hit, const char *path)
{
	void *btf;
	size_t size;
	int error = btfpack_btf(pack, hit, &btf, &size);
	FILE *file;

	if (error)
		return error;
	file = fopen(path, "wb");
	error = file && fwrite(btf, 1, size, file) == size ? 0 : BTFPACK_IO;
	if (file && fclose(file))
		error = BTFPACK_IO;
	free(btf);
	return error;
}

int main(int argc, char **argv)
{
	struct btfpack_host host;
	struct btfpack_query query = { .machine = "x86_64" };
	struct btfpack_hit hit;
	struct btfpack *pack;
	int error;

	if (argc != 2 && argc != 5 && argc != 6) {
		fprintf(stderr, "usage: find PACK [DISTRO VERSION RELEASE [#BUILD-ID]]\n");
		return 2;
	}
	error = btfpack_open(argv[1], &pack);
	if (error) {
		printf("%s\n", btfpack_strerror(error));
		return 1;
	}
	if (argc == 2) {
		error = btfpack_host("", &host, &query);
	} else {
		query.distro = known(argv[2]);
		query.version = known(argv[3]);
		query.release = argv[4];
		query.build_id = argc == 6 ? argv[5] + 1 : NULL;
	}
	if (!error)
		error = btfpack_find(pack, &query, &hit);
	if (!error && getenv("BTF"))
		error = write_btf(pack, &hit, getenv("BTF"));
	if (error)
		printf("%s\n", btfpack_strerror(error));
	else
		printf("%s %s/%s/%s/%s%s\n", btfpack_rule_name(hit.rule), hit.distro, hit.version,
		       strcmp(query.machine, "aarch64") && strcmp(query.machine, "arm64") ? "x86_64" : "arm64",
		       hit.release, hit.verified ? " verified" : "");
	btfpack_close(pack);
	return error ? 1 : 0;
}
