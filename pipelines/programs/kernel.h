/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's types, as far as the programs of this folder read them.
 *
 * Only the members that are used stand here, in any order and at any offset: the loader finds each by name in the
 * BTF of the kernel that it loads into (CO-RE). A name with ___ is a flavor: the part before ___ is looked up, so
 * that two shapes of one type, as different kernels have it, can be declared side by side.
 *
 * bpf_tracing.h of libbpf picks the kernel's register names (di) over those of user space (rdi) when it believes
 * that types come from the kernel's BTF. They do, hence __VMLINUX_H__, before libbpf's headers are read.
 */
#ifndef KERNEL_H
#define KERNEL_H

#define __VMLINUX_H__

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#if __clang_major__ < 15
#error "bpf_core_type_matches needs clang 15 or newer; Debian 12 has it in the package clang-19"
#endif

typedef _Bool bool;
#define true 1
#define false 0

#define TASK_COMM_LEN 16

/*
 * Argument N of a typed or raw tracepoint whose arguments differ between kernels. The barrier keeps clang from folding
 * two such reads into one at a computed place, which older verifiers refuse for a context.
 */
#define nth_argument(ARGUMENTS, N)              \
	({                                      \
		__u64 value = (ARGUMENTS)[N];   \
		barrier_var(value);             \
		value;                          \
	})

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* Registers at a kprobe. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bp;
	unsigned long bx;
	unsigned long r10;
	unsigned long r8;
	unsigned long r9;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long ip;
	unsigned long sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};
#endif

/* Tasks, credentials, name spaces. */
typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	unsigned int val;
} kuid_t;

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct user_namespace {
	int level;
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct upid {
	int nr;
};

/* numbers has one element up to 6.5 and none after; level says how many there are. */
struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct kernel_cap_struct {
	__u32 cap[2];
};

struct cred {
	kuid_t uid;
	kuid_t euid;
};

/* The set of capabilities is two words up to 6.2, one number since. */
struct cred___words {
	struct kernel_cap_struct cap_effective;
};

typedef struct {
	__u64 val;
} kernel_cap_t___number;

struct cred___number {
	kernel_cap_t___number cap_effective;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned long maxrss;
	short oom_score_adj;
};

struct mm_struct {
	unsigned long total_vm;
	unsigned long arg_start;
	unsigned long arg_end;
};

/* File, anonymous, swapped and shared pages. */
#define RESIDENT_COUNTERS 4

/* Up to 6.1: plain counters. */
struct mm_rss_stat {
	atomic64_t count[RESIDENT_COUNTERS];
};

struct mm_struct___plain {
	struct mm_rss_stat rss_stat;
};

/* Since 6.2: a counter per CPU each, summed up into count now and then. */
struct percpu_counter {
	__s64 count;
};

struct mm_struct___percpu {
	struct percpu_counter rss_stat[RESIDENT_COUNTERS];
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	unsigned int __state;
	unsigned int in_iowait : 1;
	__u64 start_time;
	unsigned long min_flt;
	unsigned long maj_flt;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct pid *thread_pid;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	const struct cred *cred;
	char comm[TASK_COMM_LEN];
};

/* Up to 5.13. */
struct task_struct___old {
	volatile long state;
};

struct linux_binprm {
	unsigned int secureexec : 1;
	int argc;
	const char *filename;
	const char *interp;
};

/* What tracepoints pass to programs of type tracepoint. */
struct trace_event_raw_sys_enter {
	long id;
	unsigned long args[6];
};

struct trace_event_raw_sys_exit {
	long id;
	long ret;
};

struct trace_event_raw_signal_generate {
	int sig;
	int code;
	char comm[TASK_COMM_LEN];
	int pid;
	int group;
	int result;
};

/* Files. */
struct open_how {
	__u64 flags;
	__u64 mode;
};

struct super_block {
	unsigned int s_dev;
	char s_id[32];
};

struct mnt_idmap;

struct inode {
	unsigned short i_mode;
	unsigned long i_ino;
	long long i_size;
	struct super_block *i_sb;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct path {
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;
};

/* Memory. */
enum oom_constraint {
	CONSTRAINT_NONE,
	CONSTRAINT_CPUSET,
	CONSTRAINT_MEMORY_POLICY,
	CONSTRAINT_MEMCG,
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
};

struct oom_control {
	struct mem_cgroup *memcg;
	unsigned int gfp_mask;
	int order;
	unsigned long totalpages;
	struct task_struct *chosen;
	long chosen_points;
	enum oom_constraint constraint;
};

/* Block devices. */
struct gendisk {
	int major;
	int first_minor;
	char disk_name[32];
};

struct request_queue {
	struct gendisk *disk;
};

enum mq_rq_state {
	MQ_RQ_IDLE,
	MQ_RQ_IN_FLIGHT,
	MQ_RQ_COMPLETE,
};

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
	__u64 __sector;
	__u64 start_time_ns;
};

/* Up to 5.16; the disk hangs on the queue since 5.15. */
struct request___disk {
	struct gendisk *rq_disk;
};

/* The operations were enum req_opf up to 5.19. */
enum req_op {
	REQ_OP_READ = 0,
	REQ_OP_WRITE = 1,
	REQ_OP_FLUSH = 2,
	REQ_OP_DISCARD = 3,
};

enum req_opf {
	REQ_OP_READ___opf = 0,
	REQ_OP_WRITE___opf = 1,
	REQ_OP_FLUSH___opf = 2,
	REQ_OP_DISCARD___opf = 3,
};

/* Numbers move from kernel to kernel; those here are never used. */
enum req_flag_bits {
	__REQ_SYNC,
	__REQ_META,
	__REQ_FUA,
	__REQ_RAHEAD,
	__REQ_SWAP,
	__REQ_ATOMIC,
};

/* Network. */
struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	unsigned short skc_family;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
};

struct inet_sock {
	__be16 inet_sport;
};

struct tcp_sock {
	__u8 syn_fastopen : 1;
	__u32 srtt_us;
	__u32 total_retrans;
};

struct net_device {
	char name[16];
	int ifindex;
};

struct sk_buff {
	struct net_device *dev;
	unsigned int len;
	__u8 pkt_type : 3;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	unsigned char *head;
};

struct iphdr {
	__u8 ihl : 4;
	__u8 version : 4;
	__u8 protocol;
	__be32 saddr;
	__be32 daddr;
};

/* Modules. */
struct module_memory {
	void *base;
	unsigned int size;
};

enum mod_mem_type {
	MOD_TEXT,
	MOD_INIT_TEXT = 4,
	MOD_MEM_NUM_TYPES = 7,
};

struct module {
	char name[56];
	const char *version;
	const char *srcversion;
	unsigned long taints;
	struct module_memory mem[1];
};

/* Up to 6.3. */
struct module_layout {
	unsigned int size;
	unsigned int text_size;
};

struct module___layout {
	struct module_layout core_layout;
	struct module_layout init_layout;
};

#pragma clang attribute pop

#endif
