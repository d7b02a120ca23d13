// PID 1 of an i386 machine: a kernel that has no BTF of its own, a 32-bit one at that.
//
// Speaks the protocol of wire.rs. Each check is the program `signals`: the object is loaded with the BTF to check, attached,
// and must report the signal that a child of this program then sends. A check passes by its event, not by its load: most
// wrong BTFs load.
// In C, since Debian's Rust library for i386 is not that of the compiler which builds the other guests.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <zlib.h>

#define OBJECT "/checks/0"
#define SIGNAL SIGUSR1
#define COMM "init"
#define PROGRAMS_MAX 16

/* event.h and signals.bpf.c, where a 64-bit number is aligned to 8 bytes. */
typedef uint64_t __attribute__((aligned(8))) u64;
struct signal_event {
	uint32_t type, tgid, tid, parent, uid, cpu;
	u64 time_ns, cgroup;
	char comm[16];
	uint32_t signal;
	int32_t code;
	uint32_t target, to_group, result;
	char target_comm[16];
};

static int results;
static uint32_t seq;

/* A numbered line with a checksum over number and text. */
static void tell(const char *format, ...)
{
	char json[1024], line[1200];
	uint8_t number[4] = { seq, seq >> 8, seq >> 16, seq >> 24 };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(json, sizeof(json), format, arguments);
	va_end(arguments);
	uLong crc = crc32(crc32(0, number, 4), (const Bytef *)json, strlen(json));
	int length = snprintf(line, sizeof(line), "\n@@btfpipe1 %u %08lx %s\n", seq++, crc, json);
	if (write(results, line, length) != length)
		perror("results");
}

/* What the ring buffer brought. */
struct seen {
	uint32_t sender;
	int events;
	bool ours;
};

static int take_event(void *context, void *data, size_t size)
{
	struct seen *seen = context;
	const struct signal_event *event = data;

	seen->events++;
	if (size < sizeof(*event) || event->tgid != seen->sender || event->parent != 1)
		return 0;
	if (event->signal != SIGNAL || event->target != 1)
		return 0;
	seen->ours |= !strcmp(event->comm, COMM) && !strcmp(event->target_comm, COMM);
	return 0;
}

static struct bpf_object *load(const char *btf, int *error)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = btf);
	struct bpf_object *object = bpf_object__open_file(OBJECT, &options);

	*error = object ? bpf_object__load(object) : -errno;
	if (!*error)
		return object;
	bpf_object__close(object);
	return NULL;
}

/* A child sends this process a signal. */
static uint32_t send_signal(void)
{
	pid_t child;

	signal(SIGNAL, SIG_IGN);
	child = fork();
	if (!child) {
		kill(1, SIGNAL);
		_exit(0);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
	return child;
}

/* Attaches all, has a signal sent, and looks for the event. NULL, or what is wrong. */
static const char *provoke(struct bpf_object *object)
{
	struct seen seen = { 0 };
	struct bpf_link *links[PROGRAMS_MAX];
	struct bpf_program *program;
	const char *wrong = NULL;
	int count = 0;
	int map = bpf_object__find_map_fd_by_name(object, "events");
	struct ring_buffer *ring = ring_buffer__new(map, take_event, &seen, NULL);

	if (!ring)
		return "its ring buffer cannot be read";
	bpf_object__for_each_program(program, object) {
		if (count == PROGRAMS_MAX)
			return "it has too many programs";
		links[count] = bpf_program__attach(program);
		if (links[count])
			count++;
		else
			wrong = "it does not attach";
	}
	seen.sender = send_signal();
	ring_buffer__consume(ring);
	if (!wrong && !seen.ours)
		wrong = seen.events ? "none of its events is the one that was provoked" : "it reports no event";
	while (count--)
		bpf_link__destroy(links[count]);
	ring_buffer__free(ring);
	return wrong;
}

static void check(uint32_t index, const char *btf)
{
	struct bpf_program *program = NULL;
	const char *wrong;
	int error;
	struct bpf_object *object = load(NULL, &error);

	tell("{\"type\":\"begin\",\"check\":%u}", index);
	if (object)
		wrong = "it loads without any BTF, so that this one proves nothing";
	else if (!(object = load(btf, &error)))
		wrong = "libbpf does not load it";
	else
		wrong = provoke(object);
	while (object && (program = bpf_object__next_program(object, program))) {
		char load[256] = "\"ok\"";

		if (wrong)
			snprintf(load, sizeof(load), "{\"failed\":{\"errno\":-22,\"log\":\"%s\"}}", wrong);
		tell("{\"type\":\"program\",\"program\":\"%s\",\"section\":\"%s\",\"needs_kernel_btf\":false,"
		     "\"full\":\"not-tried\",\"visible\":\"not-tried\",\"hidden\":%s,\"compare\":\"not-done\"}",
		     bpf_program__name(program), bpf_program__section_name(program), load);
	}
	char end[64] = "\"ok\"";
	if (!object)
		snprintf(end, sizeof(end), "{\"not-loaded\":{\"errno\":%d}}", error);
	tell("{\"type\":\"end\",\"check\":%u,\"full\":{\"end\":\"not-run\",\"millis\":0},"
	     "\"visible\":{\"end\":%s,\"millis\":0},\"hidden\":{\"end\":%s,\"millis\":0}}",
	     index, end, end);
	bpf_object__close(object);
}

static void mount_all(void)
{
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
}

static void open_results(const char *device)
{
	struct termios mode;

	results = open(device, O_RDWR | O_NOCTTY);
	if (results < 0 || tcgetattr(results, &mode))
		return;
	cfmakeraw(&mode);
	tcsetattr(results, TCSANOW, &mode);
}

int main(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	const char *nonce = getenv("BTFPIPE_NONCE"), *device = getenv("BTFPIPE_RESULTS");
	struct utsname kernel;
	uint32_t checks = 0;
	char btf[64];

	if (getpid() != 1 || !nonce || !device)
		return 2;
	mount_all();
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	open_results(device);
	uname(&kernel);
	/* The object is file 0, the BTF of check n is file n + 1. */
	while (snprintf(btf, sizeof(btf), "/checks/%u", checks + 1), !access(btf, R_OK))
		checks++;
	bool has_btf = !access("/sys/kernel/btf/vmlinux", R_OK);
	tell("{\"type\":\"hello\",\"nonce\":\"%s\",\"kernel\":\"%s\",\"agent\":\"i386\",\"libbpf\":\"%s\",\"btf\":%s,"
	     "\"checks\":%u}",
	     nonce, kernel.release, libbpf_version_string(), has_btf ? "{\"size\":0,\"crc32\":0}" : "null", checks);
	for (uint32_t index = 0; index < checks; index++) {
		snprintf(btf, sizeof(btf), "/checks/%u", index + 1);
		check(index, btf);
	}
	tell("{\"type\":\"done\",\"count\":%u}", checks);
	tcdrain(results);
	reboot(RB_POWER_OFF);
	return 1;
}
