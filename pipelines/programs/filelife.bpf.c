// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * filelife: files that are created and soon removed again: who made them, who removed them, size and life time.
 *
 * Tells: programs that work through temporary files, and disks that write what nobody reads.
 *
 * Load filelife_open_btf, filelife_unlink_btf and filelife_unlinked_btf where the kernel has BTF of its own, else the
 * three that end in _kprobe.
 */
#include "event.h"

#define NAME_LEN 64
#define FMODE_CREATED 0x100000

/* Files that live longer aren't reported. */
const volatile __u64 longest_ns = 600000000000;

struct file_event {
	struct event head; /* who removed it */
	__u64 lived_ns;
	__u64 inode;
	__s64 size;
	__u32 device; /* major << 20 | minor */
	__u32 mode;
	__u32 creator; /* tgid */
	char creator_comm[TASK_COMM_LEN];
	char file_system[32]; /* a disk for most, else the file system's kind */
	char directory[NAME_LEN]; /* last part only */
	char name[NAME_LEN];
};

struct creation {
	__u64 time_ns;
	__u32 tgid;
	__u32 unused;
	char comm[TASK_COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* address of the struct inode */
	__type(value, struct creation);
} created SEC(".maps");

/* What is being removed: its inode is gone from the dentry when the removal is done. */
struct removal {
	__u64 inode_key;
	__u64 inode;
	__s64 size;
	struct super_block *file_system;
	__u32 mode;
	__u32 unused;
	char directory[NAME_LEN];
	char name[NAME_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* tid */
	__type(value, struct removal);
} removing SEC(".maps");

static __always_inline int opened(const struct path *path, struct file *file)
{
	__u64 key = (__u64)BPF_CORE_READ(path, dentry, d_inode);
	struct creation creation = {};

	if (!(BPF_CORE_READ(file, f_mode) & FMODE_CREATED) || !key)
		return 0;
	creation.time_ns = bpf_ktime_get_ns();
	creation.tgid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(creation.comm, sizeof(creation.comm));
	bpf_map_update_elem(&created, &key, &creation, BPF_ANY);
	return 0;
}

/* security_inode_unlink has had the same two arguments for ever; vfs_unlink, which calls it, has not. */
static __always_inline int unlinking(struct dentry *dentry)
{
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct removal removal = {
		.inode_key = (__u64)inode,
	};

	if (!bpf_map_lookup_elem(&created, &removal.inode_key))
		return 0;
	removal.inode = BPF_CORE_READ(inode, i_ino);
	removal.size = BPF_CORE_READ(inode, i_size);
	removal.mode = BPF_CORE_READ(inode, i_mode);
	removal.file_system = BPF_CORE_READ(inode, i_sb);
	bpf_probe_read_kernel_str(removal.directory, sizeof(removal.directory),
				  BPF_CORE_READ(dentry, d_parent, d_name.name));
	bpf_probe_read_kernel_str(removal.name, sizeof(removal.name), BPF_CORE_READ(dentry, d_name.name));
	bpf_map_update_elem(&removing, &tid, &removal, BPF_ANY);
	return 0;
}

static __always_inline void report(const struct removal *removal, const struct creation *creation, __u64 lived)
{
	struct file_event *event = event_begin(file_event);
	struct super_block *file_system = removal->file_system;

	if (!event)
		return;
	event->lived_ns = lived;
	event->inode = removal->inode;
	event->size = removal->size;
	event->device = BPF_CORE_READ(file_system, s_dev);
	event->mode = removal->mode;
	event->creator = creation->tgid;
	__builtin_memcpy(event->creator_comm, creation->comm, sizeof(creation->comm));
	BPF_CORE_READ_STR_INTO(&event->file_system, file_system, s_id);
	__builtin_memcpy(event->directory, removal->directory, sizeof(removal->directory));
	__builtin_memcpy(event->name, removal->name, sizeof(removal->name));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline int unlinked(int result)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct removal *removal = bpf_map_lookup_elem(&removing, &tid);
	struct creation *creation;
	__u64 lived;

	if (!removal)
		return 0;
	creation = bpf_map_lookup_elem(&created, &removal->inode_key);
	if (!result && creation) {
		lived = bpf_ktime_get_ns() - creation->time_ns;
		if (lived <= longest_ns)
			report(removal, creation, lived);
		bpf_map_delete_elem(&created, &removal->inode_key);
	}
	bpf_map_delete_elem(&removing, &tid);
	return 0;
}

/*
 * What vfs_unlink returned stands behind its arguments: three, and four since 5.12 brought mounts that map user ids.
 * BPF can't ask for the type of a function, but the same release gave the same first argument to an inode's operations,
 * whose types it can match. (struct renamedata, which others look for, is in later releases of 5.10 too.)
 */
struct inode_operations___user_ns {
	int (*permission)(struct user_namespace *, struct inode *, int);
} __attribute__((preserve_access_index));

struct inode_operations___idmap {
	int (*permission)(struct mnt_idmap *, struct inode *, int);
} __attribute__((preserve_access_index));

static __always_inline bool mounts_map_ids(void)
{
	return bpf_core_type_matches(struct inode_operations___user_ns) ||
	       bpf_core_type_matches(struct inode_operations___idmap);
}

SEC("fentry/vfs_open")
int BPF_PROG(filelife_open_btf, const struct path *path, struct file *file)
{
	return opened(path, file);
}

SEC("fentry/security_inode_unlink")
int BPF_PROG(filelife_unlink_btf, struct inode *dir, struct dentry *dentry)
{
	return unlinking(dentry);
}

SEC("fexit/vfs_unlink")
int filelife_unlinked_btf(__u64 *ctx)
{
	return unlinked(mounts_map_ids() ? nth_argument(ctx, 4) : nth_argument(ctx, 3));
}

SEC("kprobe/vfs_open")
int BPF_KPROBE(filelife_open_kprobe, const struct path *path, struct file *file)
{
	return opened(path, file);
}

SEC("kprobe/security_inode_unlink")
int BPF_KPROBE(filelife_unlink_kprobe, struct inode *dir, struct dentry *dentry)
{
	return unlinking(dentry);
}

SEC("kretprobe/vfs_unlink")
int BPF_KRETPROBE(filelife_unlinked_kprobe, int result)
{
	return unlinked(result);
}
