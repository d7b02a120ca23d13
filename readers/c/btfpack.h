/* Reading a pack of minimized BTF: which BTF is the one for the kernel that runs.
 *
 * One header and one file; needs libzstd and nothing else. docs/bundle-format.md specifies the pack and the rules of
 * the lookup; readers/lookup.cases has the rules as cases.
 */
#ifndef BTFPACK_H
#define BTFPACK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct btfpack;

/* The kernel that is looked for. NULL where something is not known; `machine` and `release` must be. */
struct btfpack_query {
	const char *distro;   /* ID of os-release, without quotes */
	const char *version;  /* VERSION_ID, without quotes */
	const char *machine;  /* uname -m, or x86_64, amd64, arm64, aarch64 */
	const char *release;  /* uname -r */
	const char *build_id; /* GNU build-id of the running kernel, lowercase hexadecimal */
};

enum btfpack_rule {
	BTFPACK_EXACT,
	BTFPACK_VERSION_ALIAS,
	BTFPACK_MAJOR_VERSION,
	BTFPACK_UNIQUE_RELEASE,
	BTFPACK_RELEASE_PATTERN,
};

/* What a function answers: 0, or why not. */
enum btfpack_error {
	BTFPACK_OK = 0,
	BTFPACK_IO = -1,              /* errno says what */
	BTFPACK_NOT_A_PACK = -2,
	BTFPACK_DAMAGED = -3,
	BTFPACK_NO_MEMORY = -4,
	BTFPACK_OTHER_ARCH = -5,      /* open the pack of the other architecture */
	BTFPACK_NO_RELEASE = -6,      /* no kernel has the release */
	BTFPACK_OTHER_BUILD = -7,     /* the release is there, the build-id is not */
	BTFPACK_AMBIGUOUS = -8,       /* several fit: give the os-release of the host, or a build-id */
	BTFPACK_PLAIN_RELEASE = -9,   /* a release of digits only proves nothing by itself */
	BTFPACK_METHOD = -10,         /* compressed with DEFLATE: made for Go */
};

/* A kernel that was found. */
struct btfpack_hit {
	enum btfpack_rule rule;
	int verified;              /* the build-id was compared, and is equal */
	uint32_t index;            /* of the kernel in the pack */
	char distro[256], version[256], release[256];
};

/* What became of a program's relocations on a kernel. */
enum btfpack_verdict {
	BTFPACK_RESOLVED = 0,
	BTFPACK_POISONED = 1, /* refused by the verifier where a poisoned instruction is reached */
	BTFPACK_REFUSED = 2,  /* libbpf refuses the object */
};

/* Opens a file; close it with btfpack_close. */
int btfpack_open(const char *path, struct btfpack **pack);
/* The same for bytes in memory, which must stay: ld -r -b binary, an array in a header. */
int btfpack_open_memory(const void *bytes, size_t size, struct btfpack **pack);
void btfpack_close(struct btfpack *pack);

/* The kernel that `query` describes. */
int btfpack_find(const struct btfpack *pack, const struct btfpack_query *query, struct btfpack_hit *hit);
/* Its minimized BTF, checked against its digest; free it with free(). */
int btfpack_btf(const struct btfpack *pack, const struct btfpack_hit *hit, void **btf, size_t *size);
/* What became of the relocations of the program with this name; BTFPACK_NO_RELEASE where the pack has no such one. */
int btfpack_verdict(const struct btfpack *pack, const struct btfpack_hit *hit, const char *program,
		    enum btfpack_verdict *verdict);

/* The running kernel: uname, the first os-release of /host/etc, /etc and /usr/lib, /sys/kernel/notes, all looked for
 * below `root` ("" for the machine itself). The texts are in `storage`. */
struct btfpack_host {
	char distro[256], version[256], machine[80], release[80], build_id[260];
};
int btfpack_host(const char *root, struct btfpack_host *storage, struct btfpack_query *query);

const char *btfpack_strerror(int error);
const char *btfpack_rule_name(enum btfpack_rule rule);

#ifdef __cplusplus
}
#endif
#endif
