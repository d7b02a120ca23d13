/* See btfpack.h. Every number of the file is checked before it is used; nothing is written to it. */
#include "btfpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zstd.h>

enum { HEADER = 96, KERNEL = 32, ALIAS = 4, BLOB = 48, CHUNK = 24, PROGRAM = 36 };
#define NONE UINT32_MAX
#define MAX_CHUNK (256u << 20)
#define MAX_ALIASES 4096

struct btfpack {
	int fd; /* -1 for memory */
	const unsigned char *bytes;
	uint64_t size;
	uint32_t arch, kernels, aliases, blobs, chunks, programs, outcomes, strings;
	uint64_t alias_at, blob_at, chunk_at, program_at, outcome_at, string_at, data_at;
};

static uint32_t u32(const unsigned char *at)
{
	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t u64(const unsigned char *at)
{
	return u32(at) | (uint64_t)u32(at + 4) << 32;
}

static int read_at(const struct btfpack *pack, void *out, size_t size, uint64_t offset)
{
	if (offset > pack->size || size > pack->size - offset)
		return BTFPACK_DAMAGED;
	if (pack->fd < 0) {
		memcpy(out, pack->bytes + offset, size);
		return 0;
	}
	for (size_t done = 0; done < size;) {
		ssize_t got = pread(pack->fd, (char *)out + done, size - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return BTFPACK_IO;
		if (got == 0)
			return BTFPACK_DAMAGED;
		done += (size_t)got;
	}
	return 0;
}

/* ---- the digest of a BTF: FIPS 180-4 ---- */

static const uint32_t ROUND[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t word, int by)
{
	return word >> by | word << (32 - by);
}

static void sha256_block(uint32_t state[8], const unsigned char *block)
{
	uint32_t w[64], v[8];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		uint32_t a = turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t b = turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10;
		w[i] = w[i - 16] + a + w[i - 7] + b;
	}
	memcpy(v, state, sizeof(v));
	for (int i = 0; i < 64; i++) {
		uint32_t e = turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25);
		uint32_t a = turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22);
		uint32_t one = v[7] + e + ((v[4] & v[5]) ^ (~v[4] & v[6])) + ROUND[i] + w[i];
		uint32_t two = a + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += one;
		v[0] = one + two;
	}
	for (int i = 0; i < 8; i++)
		state[i] += v[i];
}

static void sha256(const unsigned char *bytes, size_t size, unsigned char digest[32])
{
	uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	unsigned char last[128] = { 0 };
	size_t whole = size / 64 * 64, rest = size - whole, end = rest < 56 ? 64 : 128;

	for (size_t at = 0; at < whole; at += 64)
		sha256_block(state, bytes + at);
	memcpy(last, bytes + whole, rest);
	last[rest] = 0x80;
	for (int i = 0; i < 8; i++)
		last[end - 1 - i] = (unsigned char)((uint64_t)size * 8 >> 8 * i);
	for (size_t at = 0; at < end; at += 64)
		sha256_block(state, last + at);
	for (int i = 0; i < 32; i++)
		digest[i] = (unsigned char)(state[i / 4] >> (24 - i % 4 * 8));
}

/* ---- the tables ---- */

static int parse_header(struct btfpack *pack)
{
	unsigned char header[HEADER];
	int error;

	if (pack->size < HEADER)
		return BTFPACK_NOT_A_PACK;
	error = read_at(pack, header, HEADER, 0);
	if (error)
		return error;
	if (memcmp(header, "BTFPACK1", 8))
		return BTFPACK_NOT_A_PACK;
	pack->arch = u32(header + 8);
	pack->kernels = u32(header + 12);
	pack->aliases = u32(header + 16);
	pack->blobs = u32(header + 20);
	pack->chunks = u32(header + 24);
	pack->programs = u32(header + 28);
	pack->outcomes = u32(header + 32);
	pack->strings = u32(header + 36);
	if (pack->arch < 1 || pack->arch > 2 || u64(header + 40) != pack->size || u64(header + 56))
		return BTFPACK_DAMAGED;
	pack->alias_at = HEADER + (uint64_t)pack->kernels * KERNEL;
	pack->blob_at = pack->alias_at + (uint64_t)pack->aliases * ALIAS;
	pack->chunk_at = pack->blob_at + (uint64_t)pack->blobs * BLOB;
	pack->program_at = pack->chunk_at + (uint64_t)pack->chunks * CHUNK;
	pack->outcome_at = pack->program_at + (uint64_t)pack->programs * PROGRAM;
	/* The product of two numbers of 32 bits fits; the sum behind it may not. */
	uint64_t rows = (uint64_t)pack->outcomes * pack->programs;
	if (pack->outcome_at > pack->size || rows > pack->size - pack->outcome_at)
		return BTFPACK_DAMAGED;
	pack->string_at = pack->outcome_at + rows;
	pack->data_at = pack->string_at + pack->strings;
	return pack->data_at > pack->size ? BTFPACK_DAMAGED : 0;
}

static int open_pack(int fd, const void *bytes, uint64_t size, struct btfpack **out)
{
	struct btfpack *pack = calloc(1, sizeof(*pack));
	int error;

	*out = NULL;
	if (!pack)
		return BTFPACK_NO_MEMORY;
	pack->fd = fd;
	pack->bytes = bytes;
	pack->size = size;
	error = parse_header(pack);
	if (error) {
		free(pack);
		return error;
	}
	*out = pack;
	return 0;
}

int btfpack_open_memory(const void *bytes, size_t size, struct btfpack **pack)
{
	return open_pack(-1, bytes, size, pack);
}

int btfpack_open(const char *path, struct btfpack **pack)
{
	struct stat status;
	int error, fd = open(path, O_RDONLY | O_CLOEXEC);

	*pack = NULL;
	if (fd < 0)
		return BTFPACK_IO;
	error = fstat(fd, &status) ? BTFPACK_IO : open_pack(fd, NULL, (uint64_t)status.st_size, pack);
	if (error) {
		int saved = errno;
		close(fd);
		errno = saved;
	}
	return error;
}

void btfpack_close(struct btfpack *pack)
{
	if (pack && pack->fd >= 0)
		close(pack->fd);
	free(pack);
}

/* A string of the pack, ended with a zero. */
static int string_at(const struct btfpack *pack, uint32_t offset, char out[256])
{
	unsigned char text[256];
	size_t left;
	int error;

	if (offset >= pack->strings)
		return BTFPACK_DAMAGED;
	left = pack->strings - offset - 1;
	error = read_at(pack, text, 1 + (left < 255 ? left : 255), pack->string_at + offset);
	if (error)
		return error;
	if (text[0] > left || memchr(text + 1, 0, text[0]))
		return BTFPACK_DAMAGED;
	memcpy(out, text + 1, text[0]);
	out[text[0]] = 0;
	return 0;
}

struct kernel {
	uint32_t index, first_alias, aliases, blob, outcomes;
	char release[256], distro[256], version[256], build_id[256];
	int has_build_id;
};

static int kernel_at(const struct btfpack *pack, uint32_t index, struct kernel *kernel)
{
	unsigned char entry[KERNEL];
	int error;

	if (index >= pack->kernels)
		return BTFPACK_DAMAGED;
	error = read_at(pack, entry, KERNEL, HEADER + (uint64_t)index * KERNEL);
	if (error)
		return error;
	kernel->index = index;
	kernel->has_build_id = u32(entry + 12) != NONE;
	kernel->first_alias = u32(entry + 16);
	kernel->aliases = u32(entry + 20);
	kernel->blob = u32(entry + 24);
	kernel->outcomes = u32(entry + 28);
	if (kernel->aliases > MAX_ALIASES || (uint64_t)kernel->first_alias + kernel->aliases > pack->aliases)
		return BTFPACK_DAMAGED;
	if ((error = string_at(pack, u32(entry), kernel->release)) ||
	    (error = string_at(pack, u32(entry + 4), kernel->distro)) ||
	    (error = string_at(pack, u32(entry + 8), kernel->version)))
		return error;
	return kernel->has_build_id ? string_at(pack, u32(entry + 12), kernel->build_id) : 0;
}

/* The number of the first kernel whose release is not less. */
static int first_of(const struct btfpack *pack, const char *release, uint32_t *first)
{
	uint32_t low = 0, high = pack->kernels;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		struct kernel kernel;
		int error = kernel_at(pack, middle, &kernel);

		if (error)
			return error;
		/* Compared as bytes, unsigned, as the pack is sorted: strcmp does. */
		if (strcmp(kernel.release, release) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*first = low;
	return 0;
}

/* ---- the rules ---- */

static const char *distro_name(const char *distro)
{
	static const char *const NAMES[][2] = { { "amazon", "amzn" },
						{ "suse", "sles" },
						{ "opensuse", "opensuse-leap" },
						{ "redhat", "rhel" },
						{ "oracle", "ol" } };

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++)
		if (!strcmp(distro, NAMES[i][0]))
			return NAMES[i][1];
	return distro;
}

/* The version up to its first dot. */
static void major_of(const char *version, char out[256])
{
	snprintf(out, 256, "%.*s", (int)strcspn(version, "."), version);
}

static int has_alias(const struct btfpack *pack, const struct kernel *kernel, const char *version)
{
	for (uint32_t i = 0; i < kernel->aliases; i++) {
		unsigned char entry[ALIAS];
		char alias[256];

		if (!read_at(pack, entry, ALIAS, pack->alias_at + ((uint64_t)kernel->first_alias + i) * ALIAS) &&
		    !string_at(pack, u32(entry), alias) && !strcmp(alias, version))
			return 1;
	}
	return 0;
}

static int has_version(const struct btfpack *pack, const struct kernel *kernel, const char *version)
{
	return !strcmp(kernel->version, version) || has_alias(pack, kernel, version);
}

static int fits(const struct btfpack *pack, enum btfpack_rule rule, const struct kernel *kernel,
		const struct btfpack_query *query)
{
	char major[256];

	if (!query->distro || !query->version ||
	    strcmp(distro_name(kernel->distro), distro_name(query->distro)))
		return 0;
	switch (rule) {
	case BTFPACK_EXACT:
		return !strcmp(kernel->version, query->version);
	case BTFPACK_VERSION_ALIAS:
		return has_alias(pack, kernel, query->version);
	case BTFPACK_MAJOR_VERSION:
		major_of(query->version, major);
		return has_version(pack, kernel, major);
	default:
		return 0;
	}
}

static int is_number(const char *text, size_t len)
{
	return len > 0 && strspn(text, "0123456789") >= len;
}

/* The distribution and version that one word of a release names. */
static int platform_of(const char *word, size_t len, const char **distro, char version[256])
{
	static const struct {
		const char *start, *end, *distro, *before;
	} WORDS[] = {
		{ "amzn", "", "amzn", "" },       { "el", "uek", "ol", "" },
		{ "deb", "", "debian", "" },      { "fc", "", "fedora", "" },
		{ "lp15", "", "opensuse-leap", "15." }, { "150", "00", "sles", "15." },
	};

	for (size_t i = 0; i < sizeof(WORDS) / sizeof(*WORDS); i++) {
		size_t start = strlen(WORDS[i].start), end = strlen(WORDS[i].end);
		const char *number = word + start;
		size_t digits;

		if (len < start + end || strncmp(word, WORDS[i].start, start) ||
		    strncmp(word + len - end, WORDS[i].end, end))
			continue;
		digits = len - start - end;
		/* deb10u1 is 10 */
		if (!strcmp(WORDS[i].start, "deb") && memchr(number, 'u', digits))
			digits = (size_t)((const char *)memchr(number, 'u', digits) - number);
		if (!is_number(number, digits) || (end == 2 && digits != 1))
			continue;
		*distro = WORDS[i].distro;
		snprintf(version, 256, "%s%.*s", WORDS[i].before, (int)digits, number);
		/* Amazon Linux 1 calls itself 2018.03 and the like. */
		if (!strcmp(*distro, "amzn") && !strcmp(version, "1"))
			version[0] = 0;
		return 1;
	}
	return 0;
}

static int release_pattern(const char *release, const char **distro, char version[256])
{
	for (const char *word = release;; word++) {
		size_t len = strcspn(word, ".-_+");

		if (platform_of(word, len, distro, version))
			return 1;
		word += len;
		if (!*word)
			return 0;
	}
}

/* A hit where all that are `left` have one BTF. */
static const struct kernel *one_btf(const struct kernel *kernels, uint32_t count, const unsigned char *left)
{
	const struct kernel *first = NULL;

	for (uint32_t i = 0; i < count; i++) {
		if (!left[i])
			continue;
		if (!first)
			first = &kernels[i];
		else if (kernels[i].blob != first->blob)
			return NULL;
	}
	return first;
}

static void fill(struct btfpack_hit *hit, const struct kernel *kernel, enum btfpack_rule rule)
{
	hit->rule = rule;
	hit->index = kernel->index;
	memcpy(hit->distro, kernel->distro, sizeof(hit->distro));
	memcpy(hit->version, kernel->version, sizeof(hit->version));
	memcpy(hit->release, kernel->release, sizeof(hit->release));
}

/* The kernels that the build-id leaves over: those that it confirms, else those that it cannot judge. */
static int compare_build_ids(const struct kernel *kernels, uint32_t count, const char *build_id,
			     unsigned char *left)
{
	int verified = 0;

	for (uint32_t i = 0; i < count; i++)
		verified |= left[i] = build_id && kernels[i].has_build_id && !strcmp(kernels[i].build_id, build_id);
	for (uint32_t i = 0; !verified && i < count; i++)
		left[i] = !build_id || !kernels[i].has_build_id;
	return verified;
}

static int resolve_by_release(const struct btfpack *pack, const struct kernel *kernels, uint32_t count,
			      const unsigned char *left, unsigned char *fitting, struct btfpack_hit *hit)
{
	const struct kernel *found = one_btf(kernels, count, left);
	const char *release = kernels[0].release, *distro;
	char version[256], major[256];

	if (found) {
		/* 5.15.128 is Bottlerocket's, and that of everybody who builds the sources. */
		if (!hit->verified && release[strspn(release, "0123456789.")] == 0)
			return BTFPACK_PLAIN_RELEASE;
		fill(hit, found, BTFPACK_UNIQUE_RELEASE);
		return 0;
	}
	if (!release_pattern(release, &distro, version))
		return BTFPACK_AMBIGUOUS;
	for (uint32_t i = 0; i < count; i++) {
		major_of(kernels[i].version, major);
		fitting[i] = left[i] && !strcmp(distro_name(kernels[i].distro), distro) &&
			     (!*version || !strcmp(major, version) || has_version(pack, &kernels[i], version));
	}
	found = one_btf(kernels, count, fitting);
	if (!found)
		return BTFPACK_AMBIGUOUS;
	fill(hit, found, BTFPACK_RELEASE_PATTERN);
	return 0;
}

static int resolve(const struct btfpack *pack, const struct btfpack_query *query, const struct kernel *kernels,
		   uint32_t count, unsigned char *left, struct btfpack_hit *hit)
{
	unsigned char *fitting = left + count;
	int any = 0;

	hit->verified = compare_build_ids(kernels, count, query->build_id, left);
	for (uint32_t i = 0; i < count; i++)
		any |= left[i];
	if (!any)
		return BTFPACK_OTHER_BUILD;
	for (enum btfpack_rule rule = BTFPACK_EXACT; rule <= BTFPACK_MAJOR_VERSION; rule++) {
		const struct kernel *found;

		any = 0;
		for (uint32_t i = 0; i < count; i++)
			any |= fitting[i] = left[i] && fits(pack, rule, &kernels[i], query);
		if (!any)
			continue;
		found = one_btf(kernels, count, fitting);
		if (!found)
			return BTFPACK_AMBIGUOUS;
		fill(hit, found, rule);
		return 0;
	}
	return resolve_by_release(pack, kernels, count, left, fitting, hit);
}

static uint32_t arch_of(const char *machine)
{
	if (!strcmp(machine, "x86_64") || !strcmp(machine, "amd64"))
		return 1;
	return !strcmp(machine, "aarch64") || !strcmp(machine, "arm64") ? 2 : 0;
}

int btfpack_find(const struct btfpack *pack, const struct btfpack_query *query, struct btfpack_hit *hit)
{
	struct kernel *kernels = NULL;
	unsigned char *left = NULL;
	uint32_t first, count = 0;
	int error;

	if (arch_of(query->machine) != pack->arch)
		return BTFPACK_OTHER_ARCH;
	error = first_of(pack, query->release, &first);
	if (error)
		return error;
	for (; first + count < pack->kernels; count++) {
		struct kernel *more = realloc(kernels, (count + 1) * sizeof(*kernels));

		if (!more) {
			error = BTFPACK_NO_MEMORY;
			goto out;
		}
		kernels = more;
		error = kernel_at(pack, first + count, &kernels[count]);
		if (error)
			goto out;
		if (strcmp(kernels[count].release, query->release))
			break;
	}
	if (!count) {
		error = BTFPACK_NO_RELEASE;
		goto out;
	}
	left = calloc(count, 2);
	error = left ? resolve(pack, query, kernels, count, left, hit) : BTFPACK_NO_MEMORY;
out:
	free(kernels);
	free(left);
	return error;
}

/* ---- the content ---- */

static int chunk_at(const struct btfpack *pack, uint32_t index, unsigned char **out, uint32_t *size)
{
	unsigned char entry[CHUNK], *packed, *content;
	uint64_t offset;
	uint32_t packed_size, method;
	int error;

	if (index >= pack->chunks)
		return BTFPACK_DAMAGED;
	error = read_at(pack, entry, CHUNK, pack->chunk_at + (uint64_t)index * CHUNK);
	if (error)
		return error;
	offset = u64(entry);
	packed_size = u32(entry + 8);
	*size = u32(entry + 12);
	method = u32(entry + 16);
	if (offset < pack->data_at || offset > pack->size || packed_size > pack->size - offset || *size > MAX_CHUNK ||
	    u32(entry + 20))
		return BTFPACK_DAMAGED;
	if (method == 2)
		return BTFPACK_METHOD;
	if (method > 1 || (method == 0 && packed_size != *size))
		return BTFPACK_DAMAGED;
	packed = malloc(packed_size + 1u);
	if (!packed)
		return BTFPACK_NO_MEMORY;
	error = read_at(pack, packed, packed_size, offset);
	if (error || method == 0) {
		*out = error ? NULL : packed;
		if (error)
			free(packed);
		return error;
	}
	/* Before memory is taken for it, the frame must say that it has so much. */
	if (ZSTD_getFrameContentSize(packed, packed_size) != *size || !(content = malloc(*size + 1u))) {
		free(packed);
		return BTFPACK_DAMAGED;
	}
	if (ZSTD_decompress(content, *size, packed, packed_size) != *size) {
		free(content);
		content = NULL;
	}
	free(packed);
	*out = content;
	return content ? 0 : BTFPACK_DAMAGED;
}

int btfpack_btf(const struct btfpack *pack, const struct btfpack_hit *hit, void **btf, size_t *size)
{
	unsigned char entry[BLOB], digest[32], *chunk;
	struct kernel kernel;
	uint32_t chunk_size, offset, length;
	int error = kernel_at(pack, hit->index, &kernel);

	*btf = NULL;
	if (error)
		return error;
	if (kernel.blob >= pack->blobs)
		return BTFPACK_DAMAGED;
	error = read_at(pack, entry, BLOB, pack->blob_at + (uint64_t)kernel.blob * BLOB);
	if (!error)
		error = chunk_at(pack, u32(entry + 32), &chunk, &chunk_size);
	if (error)
		return error;
	offset = u32(entry + 36);
	length = u32(entry + 40);
	error = BTFPACK_DAMAGED;
	if (u32(entry + 44) == 0 && offset <= chunk_size && length <= chunk_size - offset) {
		sha256(chunk + offset, length, digest);
		if (!memcmp(digest, entry, 32)) {
			memmove(chunk, chunk + offset, length);
			*btf = chunk;
			*size = length;
			return 0;
		}
	}
	free(chunk);
	return error;
}

int btfpack_verdict(const struct btfpack *pack, const struct btfpack_hit *hit, const char *program,
		    enum btfpack_verdict *verdict)
{
	struct kernel kernel;
	int error = kernel_at(pack, hit->index, &kernel);

	if (error)
		return error;
	if (kernel.outcomes >= pack->outcomes)
		return BTFPACK_DAMAGED;
	for (uint32_t i = 0; i < pack->programs; i++) {
		unsigned char entry[PROGRAM], byte;
		char name[256];

		if ((error = read_at(pack, entry, PROGRAM, pack->program_at + (uint64_t)i * PROGRAM)) ||
		    (error = string_at(pack, u32(entry), name)))
			return error;
		if (strcmp(name, program))
			continue;
		error = read_at(pack, &byte, 1, pack->outcome_at + (uint64_t)kernel.outcomes * pack->programs + i);
		if (!error && byte > BTFPACK_REFUSED)
			error = BTFPACK_DAMAGED;
		*verdict = (enum btfpack_verdict)byte;
		return error;
	}
	return BTFPACK_NO_RELEASE;
}

/* ---- the machine ---- */

/* Reads up to `size` bytes of a file below `root`; how many, or -1. */
static ssize_t slurp(const char *root, const char *path, unsigned char *out, size_t size)
{
	char full[4096];
	size_t done = 0;
	ssize_t got = 0;
	int fd;

	if ((size_t)snprintf(full, sizeof(full), "%s%s", root, path) >= sizeof(full))
		return -1;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	while (done < size && ((got = read(fd, out + done, size - done)) > 0 || (got < 0 && errno == EINTR)))
		done += got > 0 ? (size_t)got : 0;
	close(fd);
	return got < 0 ? -1 : (ssize_t)done;
}

/* The value of a line `KEY=value`, as a shell would see it. */
static void unquote(const char *value, size_t len, char out[256])
{
	char quote = 0;
	size_t to = 0;

	while (len && strchr(" \t\r", value[len - 1]))
		len--;
	if (len > 1 && (*value == '"' || *value == '\'') && value[len - 1] == *value) {
		quote = *value++;
		len -= 2;
	}
	for (size_t from = 0; from < len && to < 255; from++) {
		if (value[from] == '\\' && quote != '\'' && ++from == len)
			break;
		out[to++] = value[from];
	}
	out[to] = 0;
}

static void parse_os_release(const char *text, struct btfpack_host *host)
{
	while (*text) {
		size_t len = strcspn(text, "\n");
		const char *line = text + strspn(text, " \t");

		if (!strncmp(line, "ID=", 3))
			unquote(line + 3, (size_t)(text + len - line) - 3, host->distro);
		else if (!strncmp(line, "VERSION_ID=", 11))
			unquote(line + 11, (size_t)(text + len - line) - 11, host->version);
		text += len + (text[len] == '\n');
	}
}

/* The GNU build-id among the ELF notes, in the byte order of the machine. */
static void parse_notes(const unsigned char *notes, size_t size, char out[260])
{
	while (size >= 12) {
		uint32_t word[3];
		size_t name, desc;

		memcpy(word, notes, 12);
		notes += 12;
		size -= 12;
		name = ((size_t)word[0] + 3) / 4 * 4;
		if (name > size)
			return;
		desc = word[1];
		if (desc > size - name)
			return;
		if (word[2] == 3 && word[0] == 4 && !memcmp(notes, "GNU", 4) && desc && desc <= 128) {
			for (size_t i = 0; i < desc; i++)
				sprintf(out + 2 * i, "%02x", notes[name + i]);
			return;
		}
		desc = (desc + 3) / 4 * 4;
		if (desc > size - name)
			return;
		notes += name + desc;
		size -= name + desc;
	}
}

int btfpack_host(const char *root, struct btfpack_host *host, struct btfpack_query *query)
{
	static const char *const PATHS[] = { "/host/etc/os-release", "/etc/os-release", "/usr/lib/os-release" };
	unsigned char bytes[16384];
	struct utsname name;
	ssize_t size;

	memset(host, 0, sizeof(*host));
	memset(query, 0, sizeof(*query));
	if (uname(&name))
		return BTFPACK_IO;
	snprintf(host->machine, sizeof(host->machine), "%s", name.machine);
	snprintf(host->release, sizeof(host->release), "%s", name.release);
	size = slurp(root, "/proc/sys/kernel/osrelease", bytes, sizeof(host->release) - 1);
	if (size > 0)
		snprintf(host->release, sizeof(host->release), "%.*s", (int)strcspn((bytes[size] = 0, (char *)bytes), "\n"),
			 (char *)bytes);
	for (size_t i = 0; i < sizeof(PATHS) / sizeof(*PATHS); i++) {
		size = slurp(root, PATHS[i], bytes, sizeof(bytes) - 1);
		if (size < 0)
			continue;
		bytes[size] = 0;
		parse_os_release((char *)bytes, host);
		break;
	}
	size = slurp(root, "/sys/kernel/notes", bytes, sizeof(bytes));
	if (size > 0)
		parse_notes(bytes, (size_t)size, host->build_id);
	query->distro = *host->distro ? host->distro : NULL;
	query->version = *host->version ? host->version : NULL;
	query->build_id = *host->build_id ? host->build_id : NULL;
	query->machine = host->machine;
	query->release = host->release;
	return 0;
}

const char *btfpack_strerror(int error)
{
	switch (error) {
	case BTFPACK_OK: return "good";
	case BTFPACK_IO: return strerror(errno);
	case BTFPACK_NOT_A_PACK: return "not a pack";
	case BTFPACK_DAMAGED: return "the pack is damaged";
	case BTFPACK_NO_MEMORY: return "no memory";
	case BTFPACK_OTHER_ARCH: return "another architecture";
	case BTFPACK_NO_RELEASE: return "no such release";
	case BTFPACK_OTHER_BUILD: return "other build-id";
	case BTFPACK_AMBIGUOUS: return "ambiguous";
	case BTFPACK_PLAIN_RELEASE: return "plain release";
	case BTFPACK_METHOD: return "compressed with DEFLATE";
	default: return "unknown error";
	}
}

const char *btfpack_rule_name(enum btfpack_rule rule)
{
	static const char *const NAMES[] = { "exact", "version-alias", "major-version", "unique-release",
					     "release-pattern" };

	return (size_t)rule < sizeof(NAMES) / sizeof(*NAMES) ? NAMES[rule] : "unknown";
}
