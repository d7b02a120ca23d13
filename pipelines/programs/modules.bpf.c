// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * modules: each kernel module that is loaded: by whom, name, version, sizes, and how it taints the kernel.
 *
 * Tells: the loading of code into the kernel, which on most servers ends minutes after the boot; unsigned and out-of-tree
 * modules stand out by their taints.
 *
 * Load modules_btf where the kernel has BTF of its own, else modules_raw.
 */
#include "event.h"

/* Bits of taints; the kernel's numbers for these are fixed. */
#define TAINT_PROPRIETARY 0
#define TAINT_OUT_OF_TREE 12
#define TAINT_UNSIGNED 13

struct module_event {
	struct event head;
	__u64 taints;
	__u32 stays_bytes; /* text and data that stay in memory */
	__u32 init_bytes; /* freed after its start */
	__u32 text_bytes;
	__u32 proprietary;
	__u32 out_of_tree;
	__u32 unsigned_;
	char name[64];
	char version[32];
	char srcversion[32];
};

#define MOST_PARTS 16

/* Since 6.4 a module is made of parts, each with its memory. */
static __always_inline void read_parts(struct module_event *event, struct module *module)
{
	struct module_memory *first = (void *)module + bpf_core_field_offset(module->mem);
	__u32 size_of_part = bpf_core_type_size(struct module_memory);
	__u32 text = bpf_core_enum_value(enum mod_mem_type, MOD_TEXT);
	__u32 first_init = bpf_core_enum_value(enum mod_mem_type, MOD_INIT_TEXT);
	__u32 parts = bpf_core_enum_value(enum mod_mem_type, MOD_MEM_NUM_TYPES);
	__u32 stays = 0, init = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < MOST_PARTS && i < parts; i++) {
		struct module_memory *part = (void *)first + i * size_of_part;
		__u32 bytes = BPF_CORE_READ(part, size);

		if (i == text)
			event->text_bytes = bytes;
		if (i < first_init)
			stays += bytes;
		else
			init += bytes;
	}
	event->stays_bytes = stays;
	event->init_bytes = init;
}

static __always_inline void read_layout(struct module_event *event, struct module___layout *module)
{
	event->stays_bytes = BPF_CORE_READ(module, core_layout.size);
	event->text_bytes = BPF_CORE_READ(module, core_layout.text_size);
	event->init_bytes = BPF_CORE_READ(module, init_layout.size);
}

/* Most modules have no version. */
static __always_inline void read_string(char *to, __u32 size, const char *from)
{
	if (bpf_probe_read_kernel_str(to, size, from) < 0)
		to[0] = 0;
}

static __always_inline int report(struct module *module)
{
	struct module_event *event = event_begin(module_event);

	if (!event)
		return 0;
	event->stays_bytes = event->init_bytes = event->text_bytes = 0;
	if (bpf_core_type_matches(struct module_memory))
		read_parts(event, module);
	else if (bpf_core_type_exists(struct module_layout))
		read_layout(event, (void *)module);
	event->taints = BPF_CORE_READ(module, taints);
	event->proprietary = event->taints >> TAINT_PROPRIETARY & 1;
	event->out_of_tree = event->taints >> TAINT_OUT_OF_TREE & 1;
	event->unsigned_ = event->taints >> TAINT_UNSIGNED & 1;
	BPF_CORE_READ_STR_INTO(&event->name, module, name);
	read_string(event->version, sizeof(event->version), BPF_CORE_READ(module, version));
	read_string(event->srcversion, sizeof(event->srcversion), BPF_CORE_READ(module, srcversion));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

SEC("tp_btf/module_load")
int BPF_PROG(modules_btf, struct module *module)
{
	return report(module);
}

SEC("raw_tp/module_load")
int BPF_PROG(modules_raw, struct module *module)
{
	return report(module);
}
