// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * tcpconns: each TCP connection that a process opens or tries to: both ends, how long the handshake took, how it ended.
 *
 * Tells: what talks to whom, and which server doesn't answer (error, retransmits).
 *
 * tcp_connect runs in the process that calls connect(); the answer of the other side arrives in an interrupt. So
 * the process is remembered at the one and reported at the other. Load the programs that end in _btf where the kernel has
 * BTF of its own, else tcpconns_connect_kprobe and tcpconns_state_raw.
 */
#include "event.h"

#define AF_INET6 10

#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7

struct connection_event {
	struct event head; /* who called connect(); time_ns is when */
	__u64 took_ns;
	__u32 established; /* 0: it failed */
	__s32 error; /* errno, when it failed */
	__u32 rtt_us; /* smoothed, of the handshake */
	__u32 retransmits;
	__u32 fast_open; /* data went with the SYN */
	__u32 ipv6_only; /* the socket can't speak IPv4 */
	__u32 net_ns;
	__u16 family; /* AF_INET, AF_INET6 */
	__u16 local_port;
	__u16 remote_port;
	__u8 local[16]; /* IPv4: the first four */
	__u8 remote[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* address of the struct sock */
	__type(value, struct event);
} connecting SEC(".maps");

static __always_inline int begin(struct sock *sk)
{
	__u64 key = (__u64)sk;
	struct event caller = {};

	event_describe(&caller, bpf_core_type_id_local(struct connection_event));
	bpf_map_update_elem(&connecting, &key, &caller, BPF_ANY);
	return 0;
}

static __always_inline void read_addresses(struct connection_event *event, struct sock *sk)
{
	struct sock_common *common = &sk->__sk_common;
	struct inet_sock *inet = (void *)sk;

	event->family = BPF_CORE_READ(common, skc_family);
	event->local_port = __builtin_bswap16(BPF_CORE_READ(inet, inet_sport));
	event->remote_port = __builtin_bswap16(BPF_CORE_READ(common, skc_dport));
	if (event->family == AF_INET6) {
		bpf_core_read(event->local, sizeof(event->local), &common->skc_v6_rcv_saddr.in6_u.u6_addr8);
		bpf_core_read(event->remote, sizeof(event->remote), &common->skc_v6_daddr.in6_u.u6_addr8);
		return;
	}
	__builtin_memset(event->local, 0, sizeof(event->local));
	__builtin_memset(event->remote, 0, sizeof(event->remote));
	bpf_core_read(event->local, sizeof(__be32), &common->skc_rcv_saddr);
	bpf_core_read(event->remote, sizeof(__be32), &common->skc_daddr);
}

static __always_inline void report(struct sock *sk, const struct event *caller, bool established)
{
	struct tcp_sock *tcp = (void *)sk;
	struct connection_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		__sync_fetch_and_add(&events_lost, 1);
		return;
	}
	event->head = *caller;
	event->took_ns = bpf_ktime_get_ns() - caller->time_ns;
	event->established = established;
	event->error = established ? 0 : BPF_CORE_READ(sk, sk_err);
	event->rtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
	event->retransmits = BPF_CORE_READ(tcp, total_retrans);
	event->fast_open = BPF_CORE_READ_BITFIELD_PROBED(tcp, syn_fastopen);
	event->ipv6_only = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only);
	event->net_ns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	read_addresses(event, sk);
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int change(struct sock *sk, int from, int to)
{
	__u64 key = (__u64)sk;
	struct event *caller;

	if (from != TCP_SYN_SENT || (to != TCP_ESTABLISHED && to != TCP_CLOSE))
		return 0;
	caller = bpf_map_lookup_elem(&connecting, &key);
	if (!caller)
		return 0;
	report(sk, caller, to == TCP_ESTABLISHED);
	bpf_map_delete_elem(&connecting, &key);
	return 0;
}

SEC("fentry/tcp_connect")
int BPF_PROG(tcpconns_connect_btf, struct sock *sk)
{
	return begin(sk);
}

SEC("kprobe/tcp_connect")
int BPF_KPROBE(tcpconns_connect_kprobe, struct sock *sk)
{
	return begin(sk);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcpconns_state_btf, struct sock *sk, int from, int to)
{
	return change(sk, from, to);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(tcpconns_state_raw, struct sock *sk, int from, int to)
{
	return change(sk, from, to);
}
