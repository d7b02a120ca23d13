// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * drops: network packets that the kernel throws away: where in the kernel, why, and an example of them.
 *
 * Tells: a full queue, a firewall rule, a port that nobody listens on. Packets are counted by place, reason and protocol;
 * of each kind the 1st, 2nd, 4th, 8th, … packet is reported, so that a flood doesn't become a flood of events.
 *
 * Load drops_btf where the kernel has BTF of its own, else drops_raw.
 */
#include "event.h"

#define ETH_P_IP 0x0800
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17

struct drop_kind {
	__u64 location; /* address in the kernel; /proc/kallsyms has its name */
	__u32 reason; /* enum skb_drop_reason of this kernel; 0 where kernels know no reasons (before 5.17) */
	__u32 protocol; /* ETH_P_* */
};

struct drop_event {
	struct event head; /* who was running; not always who sent */
	struct drop_kind kind;
	__u64 count; /* packets of this kind so far */
	__u32 unspecified; /* the reason says that there is none */
	__u32 len;
	__u32 packet_type; /* PACKET_*: 0 for us, 1 broadcast, 2 multicast, 3 for others, 4 outgoing */
	__u32 net_device;
	__u8 ip_protocol; /* the rest for IPv4 only */
	__u8 unused;
	__u16 source_port;
	__u16 target_port;
	__u16 unused2;
	__u32 source; /* as in the packet */
	__u32 target;
	char device[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct drop_kind);
	__type(value, __u64);
} dropped SEC(".maps");

enum skb_drop_reason {
	SKB_NOT_DROPPED_YET,
	SKB_CONSUMED,
	SKB_DROP_REASON_NOT_SPECIFIED,
};

/* The reason came in 5.17, the receiving socket behind it in 6.11. */
typedef void (*btf_trace_kfree_skb___reason)(void *, struct sk_buff *, void *, enum skb_drop_reason);
typedef void (*btf_trace_kfree_skb___socket)(void *, struct sk_buff *, void *, enum skb_drop_reason, struct sock *);

#define has_reason() \
	(bpf_core_type_exists(btf_trace_kfree_skb___reason) || bpf_core_type_exists(btf_trace_kfree_skb___socket))

#define is_reason(NUMBER, NAME)                                        \
	(bpf_core_enum_value_exists(enum skb_drop_reason, NAME) &&     \
	 NUMBER == bpf_core_enum_value(enum skb_drop_reason, NAME))

/* How many of this kind there were, this one included. */
static __always_inline __u64 count(const struct drop_kind *kind)
{
	__u64 *count = bpf_map_lookup_elem(&dropped, kind), one = 1;

	if (!count) {
		bpf_map_update_elem(&dropped, kind, &one, BPF_NOEXIST);
		return 1;
	}
	__sync_fetch_and_add(count, 1);
	return *count;
}

static __always_inline void read_ipv4(struct drop_event *event, struct sk_buff *skb)
{
	unsigned char *head = BPF_CORE_READ(skb, head);
	struct iphdr *ip = (void *)(head + BPF_CORE_READ(skb, network_header));
	__be16 ports[2] = {};

	event->ip_protocol = BPF_CORE_READ(ip, protocol);
	event->source = BPF_CORE_READ(ip, saddr);
	event->target = BPF_CORE_READ(ip, daddr);
	if (event->ip_protocol != IPPROTO_TCP && event->ip_protocol != IPPROTO_UDP)
		return;
	/* skb->transport_header may not be set yet. */
	bpf_probe_read_kernel(ports, sizeof(ports), (void *)ip + BPF_CORE_READ_BITFIELD_PROBED(ip, ihl) * 4);
	event->source_port = __builtin_bswap16(ports[0]);
	event->target_port = __builtin_bswap16(ports[1]);
}

static __always_inline int report(struct sk_buff *skb, const struct drop_kind *kind, __u64 count)
{
	struct drop_event *event = event_begin(drop_event);

	if (!event)
		return 0;
	__builtin_memset(&event->ip_protocol, 0, sizeof(*event) - __builtin_offsetof(struct drop_event, ip_protocol));
	event->kind = *kind;
	event->count = count;
	event->unspecified = !kind->reason || is_reason(kind->reason, SKB_DROP_REASON_NOT_SPECIFIED);
	event->len = BPF_CORE_READ(skb, len);
	event->packet_type = BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
	event->net_device = BPF_CORE_READ(skb, dev, ifindex);
	BPF_CORE_READ_STR_INTO(&event->device, skb, dev, name);
	if (kind->protocol == ETH_P_IP)
		read_ipv4(event, skb);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

static __always_inline int drop(struct sk_buff *skb, __u64 location, __u32 reason)
{
	struct drop_kind kind = {
		.location = location,
		.reason = reason,
		.protocol = __builtin_bswap16(BPF_CORE_READ(skb, protocol)),
	};
	__u64 number;

	if (reason && is_reason(reason, SKB_CONSUMED))
		return 0;
	number = count(&kind);
	if (number & (number - 1))
		return 0;
	return report(skb, &kind, number);
}

SEC("tp_btf/kfree_skb")
int drops_btf(__u64 *ctx)
{
	return drop((void *)ctx[0], ctx[1], has_reason() ? nth_argument(ctx, 2) : 0);
}

SEC("raw_tp/kfree_skb")
int drops_raw(struct bpf_raw_tracepoint_args *ctx)
{
	return drop((void *)ctx->args[0], ctx->args[1], has_reason() ? nth_argument(ctx->args, 2) : 0);
}
