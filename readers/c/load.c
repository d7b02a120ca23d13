/* load PACK OBJECT: loads a BPF object with the BTF that the pack has for this kernel, as a program of yours would.
 * load - OBJECT: the same with the BTF that libbpf finds by itself.
 *
 * Prints libbpf's line about the BTF that it took, and "loaded".
 */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "btfpack.h"

static int print(enum libbpf_print_level level, const char *format, va_list arguments)
{
	char text[4096];

	vsnprintf(text, sizeof(text), format, arguments);
	/* "loading kernel BTF '/boot/vmlinux-…': 0", or of a custom path */
	if (strstr(text, "BTF '") || strstr(text, "btf_custom") || level == LIBBPF_WARN)
		fputs(text, stdout);
	return 0;
}

/* The BTF as a file, which is what libbpf takes; gone when the program is. */
static int btf_file(const char *pack_path, char path[64])
{
	struct btfpack_host host;
	struct btfpack_query query;
	struct btfpack_hit hit;
	struct btfpack *pack;
	void *btf;
	size_t size;
	int file, error = btfpack_open(pack_path, &pack);

	if (error) {
		printf("%s: %s\n", pack_path, btfpack_strerror(error));
		return -1;
	}
	if ((error = btfpack_host("", &host, &query)) || (error = btfpack_find(pack, &query, &hit)) ||
	    (error = btfpack_btf(pack, &hit, &btf, &size))) {
		printf("%s: %s\n", query.release ? query.release : "uname", btfpack_strerror(error));
		btfpack_close(pack);
		return -1;
	}
	printf("found by rule %s%s\n", btfpack_rule_name(hit.rule), hit.verified ? ", verified" : "");
	strcpy(path, "/tmp/btfpack.XXXXXX");
	file = mkstemp(path);
	if (file < 0 || write(file, btf, size) != (ssize_t)size) {
		perror(path);
		return -1;
	}
	close(file);
	free(btf);
	btfpack_close(pack);
	return 0;
}

int main(int argc, char **argv)
{
	char path[64] = "";
	struct bpf_object_open_opts opts = { .sz = sizeof(opts) };
	struct bpf_object *object;
	int error;

	if (argc != 3) {
		fprintf(stderr, "usage: load PACK OBJECT\n");
		return 2;
	}
	libbpf_set_print(print);
	if (strcmp(argv[1], "-")) {
		if (btf_file(argv[1], path))
			return 1;
		opts.btf_custom_path = path;
	}
	object = bpf_object__open_file(argv[2], &opts);
	error = object ? bpf_object__load(object) : -1;
	if (*path)
		unlink(path);
	printf("%s\n", error ? "not loaded" : "loaded");
	bpf_object__close(object);
	return error != 0;
}
