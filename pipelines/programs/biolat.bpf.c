// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * biolat: how long block devices take for each request, from handing it to the driver until it is done.
 *
 * Tells: a slow or dying disk. Histograms per device and operation have every request; requests of slow_ns and more are
 * reported one by one with sector, size and flags.
 *
 * Load the programs that end in _btf where the kernel has BTF of its own, else those that end in _raw.
 */
#include "event.h"
#include "histogram.h"

const volatile __u64 slow_ns = 100000000;

enum operation {
	OPERATION_READ,
	OPERATION_WRITE,
	OPERATION_FLUSH,
	OPERATION_DISCARD,
	OPERATION_OTHER,
};

/* Flags, by names and numbers that hold for all kernels. */
enum io_flag {
	IO_SYNC = 1,
	IO_META = 2,
	IO_FUA = 4,
	IO_READ_AHEAD = 8,
	IO_SWAP = 16,
	IO_ATOMIC = 32,
};

struct io_event {
	struct event head; /* who handed the request to the driver; time_ns is when it was done */
	__u64 took_ns;
	__u64 queued_ns; /* from its creation until the driver had it */
	__u64 sector;
	__u32 bytes;
	__s32 error; /* blk_status_t, before 5.16 a negative errno */
	__u32 major;
	__u32 minor;
	enum operation operation;
	__u32 flags; /* enum io_flag */
	char disk[32];
};

struct issued {
	__u64 time_ns;
	__u64 queued_ns;
	__u64 sector;
	__u32 bytes;
	__u32 cmd_flags;
	__u32 tgid;
	__u32 tid;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64); /* address of the struct request */
	__type(value, struct issued);
} in_flight SEC(".maps");

struct device_operation {
	__u32 major;
	__u32 minor;
	enum operation operation;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct device_operation);
	__type(value, struct histogram);
} latencies_us SEC(".maps");

static const struct histogram no_counts;

/*
 * Since 5.11 the tracepoint of issuing passes the request alone, before that the queue and the request. Stable branches
 * took this change as well (5.10.137), so only the type tells, not the version.
 */
typedef void (*btf_trace_block_rq_issue___request)(void *, struct request *);

#define issued_request(ARGUMENTS)                                                   \
	((struct request *)(bpf_core_type_exists(btf_trace_block_rq_issue___request) \
				    ? nth_argument(ARGUMENTS, 0)                    \
				    : nth_argument(ARGUMENTS, 1)))

/* The disk moved from the request to its queue in 5.15 and 5.17. */
static __always_inline struct gendisk *disk_of(struct request *request)
{
	struct request___disk *old = (void *)request;

	if (bpf_core_field_exists(old->rq_disk))
		return BPF_CORE_READ(old, rq_disk);
	return BPF_CORE_READ(request, q, disk);
}

#define OPERATION_MASK 0xff

/* enum req_opf became enum req_op in 6.0. */
static __always_inline enum operation operation_of(__u32 cmd_flags)
{
	__u32 number = cmd_flags & OPERATION_MASK;

#define is(NAME)                                                           \
	(bpf_core_enum_value_exists(enum req_op, NAME)                     \
		 ? number == bpf_core_enum_value(enum req_op, NAME)        \
		 : bpf_core_enum_value_exists(enum req_opf, NAME##___opf) && \
			   number == bpf_core_enum_value(enum req_opf, NAME##___opf))
	if (is(REQ_OP_READ))
		return OPERATION_READ;
	if (is(REQ_OP_WRITE))
		return OPERATION_WRITE;
	if (is(REQ_OP_FLUSH))
		return OPERATION_FLUSH;
	if (is(REQ_OP_DISCARD))
		return OPERATION_DISCARD;
	return OPERATION_OTHER;
#undef is
}

static __always_inline __u32 flags_of(__u32 cmd_flags)
{
	__u32 flags = 0;

#define translate(NAME, FLAG)                                      \
	if (bpf_core_enum_value_exists(enum req_flag_bits, NAME) && \
	    cmd_flags >> bpf_core_enum_value(enum req_flag_bits, NAME) & 1) \
		flags |= FLAG
	translate(__REQ_SYNC, IO_SYNC);
	translate(__REQ_META, IO_META);
	translate(__REQ_FUA, IO_FUA);
	translate(__REQ_RAHEAD, IO_READ_AHEAD);
	translate(__REQ_SWAP, IO_SWAP);
	translate(__REQ_ATOMIC, IO_ATOMIC);
#undef translate
	return flags;
}

static __always_inline int issue(struct request *request)
{
	__u64 key = (__u64)request, id = bpf_get_current_pid_tgid();
	struct issued issued = {
		.time_ns = bpf_ktime_get_ns(),
		.sector = BPF_CORE_READ(request, __sector),
		.bytes = BPF_CORE_READ(request, __data_len),
		.cmd_flags = BPF_CORE_READ(request, cmd_flags),
		.tgid = id >> 32,
		.tid = (__u32)id,
	};
	__u64 created = BPF_CORE_READ(request, start_time_ns);

	if (created && created < issued.time_ns)
		issued.queued_ns = issued.time_ns - created;
	bpf_get_current_comm(issued.comm, sizeof(issued.comm));
	bpf_map_update_elem(&in_flight, &key, &issued, BPF_ANY);
	return 0;
}

static __always_inline void count(const struct device_operation *key, __u64 took)
{
	struct histogram *histogram = bpf_map_lookup_elem(&latencies_us, key);

	if (!histogram) {
		bpf_map_update_elem(&latencies_us, key, &no_counts, BPF_NOEXIST);
		histogram = bpf_map_lookup_elem(&latencies_us, key);
	}
	if (histogram)
		histogram_add(histogram, took / 1000);
}

static __always_inline void report(struct gendisk *disk, const struct device_operation *key,
				   const struct issued *issued, __u64 took, int error)
{
	struct io_event *event = event_begin(io_event);

	if (!event)
		return;
	event->head.tgid = issued->tgid;
	event->head.tid = issued->tid;
	event->head.parent = 0;
	event->head.uid = 0;
	event->head.cgroup = 0;
	__builtin_memcpy(event->head.comm, issued->comm, sizeof(issued->comm));
	event->took_ns = took;
	event->queued_ns = issued->queued_ns;
	event->sector = issued->sector;
	event->bytes = issued->bytes;
	event->error = error;
	event->major = key->major;
	event->minor = key->minor;
	event->operation = key->operation;
	event->flags = flags_of(issued->cmd_flags);
	bpf_core_read_str(event->disk, sizeof(event->disk), &disk->disk_name);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int complete(struct request *request, int error)
{
	__u64 key = (__u64)request;
	struct issued *issued = bpf_map_lookup_elem(&in_flight, &key);
	struct gendisk *disk;
	struct device_operation device = {};
	__u64 took;

	if (!issued)
		return 0;
	took = bpf_ktime_get_ns() - issued->time_ns;
	disk = disk_of(request);
	device.major = BPF_CORE_READ(disk, major);
	device.minor = BPF_CORE_READ(disk, first_minor);
	device.operation = operation_of(issued->cmd_flags);
	count(&device, took);
	if (took >= slow_ns)
		report(disk, &device, issued, took, error);
	bpf_map_delete_elem(&in_flight, &key);
	return 0;
}

SEC("tp_btf/block_rq_issue")
int biolat_issue_btf(__u64 *ctx)
{
	return issue(issued_request(ctx));
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(biolat_complete_btf, struct request *request, int error)
{
	return complete(request, error);
}

SEC("raw_tp/block_rq_issue")
int biolat_issue_raw(struct bpf_raw_tracepoint_args *ctx)
{
	return issue(issued_request(ctx->args));
}

SEC("raw_tp/block_rq_complete")
int BPF_PROG(biolat_complete_raw, struct request *request, int error)
{
	return complete(request, error);
}
